"""What a training saves of itself: whole or not at all, and only ever one more than needed.

`checkpoint-000012` holds a training as it stood before block 12: a safetensors file per layer and a small JSON. It is
written under another name and renamed when all of it is on the disk; then older ones go.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from micrographia import store
from micrographia.bases.training.config import TrainConfig
from micrographia.bases.training.layer import TrainedLayer
from micrographia.bases.training.start import Statistics
from micrographia.bases.training.step import Parameters
from micrographia.errors import CacheError, CallError
from micrographia.ids import Layer
from micrographia.model.tensor_files import TensorFiles

__all__ = ["latest", "restore", "save"]

_META = "training.json"


class _LayerMeta(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int
    threshold: float | None
    variance: float


class _Meta(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    block: int
    config: TrainConfig
    layers: dict[int, _LayerMeta]


def save(folder: Path, config: TrainConfig, block: int, layers: Mapping[Layer, TrainedLayer]) -> Path:
    """Write the training as it stands before `block`."""
    final = folder / f"checkpoint-{block:06}"
    partial = folder / f".{final.name}.partial"
    with store.writing(final):
        if partial.exists():
            store.remove_folder(partial)
        partial.mkdir(parents=True)
        for layer, trained in layers.items():
            tensors = {name: tensor.cpu().contiguous() for name, tensor in trained.state().items()}
            safetensors.torch.save_file(tensors, partial / f"layer-{layer}.safetensors")
        meta = _Meta(
            block=block,
            config=config,
            layers={
                layer: _LayerMeta(steps=t.steps, threshold=t.threshold, variance=t.statistics.variance)
                for layer, t in layers.items()
            },
        )
        store.write_json(partial / _META, meta.model_dump(mode="json"))
        partial.replace(final)
        store.sync_folder(folder)
    for other in _all(folder):
        if other != final:
            store.remove_folder(other)
    return final


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder."""
    return max(_all(folder), default=None)


def restore(checkpoint: Path, config: TrainConfig, device: torch.device) -> tuple[int, dict[Layer, TrainedLayer]]:
    """The block to go on with, and the layers as they stood before it."""
    try:
        meta = _Meta.model_validate(json.loads((checkpoint / _META).read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        raise CacheError(f"{checkpoint} is no checkpoint that can be read: {error}. Delete it.") from error
    if meta.config != config:
        ours, theirs = config.model_dump(), meta.config.model_dump()
        changed = ", ".join(f"{key} {theirs[key]} → {ours[key]}" for key in ours if ours[key] != theirs[key])
        raise CallError(
            f"{checkpoint.parent} holds a training with other choices ({changed}). Go on with the same ones, "
            "or write to another folder."
        )
    return meta.block, {Layer(i): _layer(checkpoint, config, Layer(i), meta.layers[i], device) for i in meta.layers}


def _layer(checkpoint: Path, config: TrainConfig, layer: Layer, meta: _LayerMeta, device: torch.device) -> TrainedLayer:
    state = {
        name: tensor.to(device, copy=True)
        for name, tensor in TensorFiles(checkpoint, (f"layer-{layer}.safetensors",), ours=True).items()
    }
    weights = [state[f"weight.{i}"] for i in range(5 if config.skip else 4)]
    encoder, encoder_bias, decoder, bias, *skip = weights
    parameters = Parameters(encoder, encoder_bias, decoder, bias, skip[0] if skip else None)
    trained = TrainedLayer(config, parameters, Statistics(state["mean_in"], state["mean_out"], meta.variance))
    trained.first = [state[f"first.{i}"] for i in range(len(weights))]
    trained.second = [state[f"second.{i}"] for i in range(len(weights))]
    trained.silent, trained.steps, trained.threshold = state["silent"], meta.steps, meta.threshold
    return trained


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if (path / _META).is_file()]
