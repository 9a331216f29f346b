"""What a training saves of itself: whole or not at all, and only ever one more than needed.

`checkpoint-000012` holds a training as it stood before block 12: a safetensors file per unit and a small JSON. It is
written under another name and renamed when all of it is on the disk; then older ones go.
"""

import errno
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from micrographia import store
from micrographia.bases.training.config import TrainConfig
from micrographia.errors import CacheError, CallError, WorkError
from micrographia.model.tensor_files import TensorFiles

__all__ = ["Checkpoint", "latest", "peek", "read", "read_state", "save", "write_state"]

_META = "training.json"


class Checkpoint(BaseModel):
    """Where a training stands, and over which text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[2] = 2
    block: int
    """The block that comes next."""
    config: TrainConfig
    layers: tuple[int, ...]
    text: str
    """What names the text: other text would not continue the training."""


def save(folder: Path, checkpoint: Checkpoint, write: Callable[[Path], None]) -> Path:
    """Let `write` put the units into a folder that becomes the newest checkpoint; older ones go."""
    final = folder / f"checkpoint-{checkpoint.block:06}"
    partial = folder / f".{final.name}.partial"
    with store.writing(final, kind=WorkError, elsewhere="copy this folder to where there is room; then --resume."):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            write(partial)
            store.write_json(partial / _META, checkpoint.model_dump(mode="json"))
            if final.exists():
                store.remove_folder(final)
            partial.replace(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        store.sync_folder(folder)
    for other in _all(folder):
        if other != final:
            store.remove_folder(other)
    return final


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder."""
    return max(_all(folder), default=None)


def peek(checkpoint: Path) -> Checkpoint:
    """What a checkpoint says."""
    try:
        return Checkpoint.model_validate(json.loads((checkpoint / _META).read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        raise CacheError(f"{checkpoint} is no checkpoint that can be read: {error}. Delete it.") from error


def read(checkpoint: Path, config: TrainConfig, text: str) -> Checkpoint:
    """What a checkpoint says, if it is one of this very training, or of a shorter one with the same choices."""
    found = peek(checkpoint)
    ours, theirs = config.model_dump(), found.config.model_dump()
    changed = {key: f"{key} {theirs[key]} → {ours[key]}" for key in ours if ours[key] != theirs[key]}
    if config.n_blocks() >= found.block:
        changed.pop("tokens", None)
    if changed:
        raise CallError(
            f"{checkpoint.parent} holds a training with other choices ({', '.join(changed.values())}). Go on with the "
            "same ones (only tokens may grow), or write to another folder."
        )
    if found.text != text:
        raise CallError(f"{checkpoint.parent} holds a training on other text. Go on with the same corpus and model.")
    return found


def write_state(folder: Path, name: str, state: Mapping[str, Tensor]) -> None:
    """One unit's state, in its file."""
    tensors = {key: tensor.cpu().contiguous() for key, tensor in state.items()}
    try:
        safetensors.torch.save_file(tensors, folder / f"{name}.safetensors")
    except SafetensorError as error:  # it wraps what the disk says into words
        code = errno.ENOSPC if "os error 28" in str(error) or "os error 27" in str(error) else errno.EIO
        raise OSError(code, str(error), str(folder)) from error


def read_state(folder: Path, name: str, device: torch.device) -> Mapping[str, Tensor]:
    """One unit's state, out of its file."""
    files = TensorFiles(folder, (f"{name}.safetensors",), ours=True)
    return {key: tensor.to(device, copy=True) for key, tensor in files.items()}


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if (path / _META).is_file()]
