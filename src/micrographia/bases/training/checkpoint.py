"""What a training saves of itself: whole or not at all, and only ever one more than needed.

`checkpoint-000012` holds a training as it stood before block 12: a safetensors file per unit and a small JSON. It is
written under another name and renamed when all of it is on the disk; then older ones go.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from micrographia import store
from micrographia.bases.training.config import TrainConfig
from micrographia.errors import CacheError, CallError
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
    with store.writing(final, elsewhere="go on with --resume when there is room; nothing is lost but the last blocks."):
        if partial.exists():
            store.remove_folder(partial)
        partial.mkdir(parents=True)
        write(partial)
        store.write_json(partial / _META, checkpoint.model_dump(mode="json"))
        if final.exists():
            store.remove_folder(final)
        partial.replace(final)
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
    """What a checkpoint says, if it is one of this very training."""
    found = peek(checkpoint)
    if found.config != config:
        ours, theirs = config.model_dump(), found.config.model_dump()
        changed = ", ".join(f"{key} {theirs[key]} → {ours[key]}" for key in ours if ours[key] != theirs[key])
        raise CallError(
            f"{checkpoint.parent} holds a training with other choices ({changed}). Go on with the same ones, "
            "or write to another folder."
        )
    if found.text != text:
        raise CallError(f"{checkpoint.parent} holds a training on other text. Go on with the same corpus and model.")
    return found


def write_state(folder: Path, name: str, state: Mapping[str, Tensor]) -> None:
    """One unit's state, in its file."""
    tensors = {key: tensor.cpu().contiguous() for key, tensor in state.items()}
    safetensors.torch.save_file(tensors, folder / f"{name}.safetensors")


def read_state(folder: Path, name: str, device: torch.device) -> Mapping[str, Tensor]:
    """One unit's state, out of its file."""
    files = TensorFiles(folder, (f"{name}.safetensors",), ours=True)
    return {key: tensor.to(device, copy=True) for key, tensor in files.items()}


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if (path / _META).is_file()]
