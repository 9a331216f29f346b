"""How numbers lie in our files: float32, bfloat16, or int8 with a scale for each row; and what the narrow ones lose."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never, get_args

import torch
from torch import Tensor

from micrographia.bases.formats.parts import BasisFile, LayerParts

__all__ = ["STORAGES", "Rounding", "Storage", "restored", "rounded", "rounding", "stored"]

Storage: TypeAlias = Literal["fp32", "bf16", "int8"]
STORAGES: tuple[Storage, ...] = get_args(Storage)

_STEPS = 127


@dataclass(frozen=True, slots=True)
class Rounding:
    """What narrow numbers cost: the relative error (root of the mean square) over all matrices, and the worst one's."""

    overall: float
    worst: float
    where: str


def stored(name: str, tensor: Tensor, storage: Storage) -> dict[str, Tensor]:
    """A tensor as it is written. Vectors stay float32: they are small, and thresholds must not move."""
    tensor = tensor.detach().to("cpu", torch.float32)
    if tensor.ndim < 2:
        return {name: tensor}
    match storage:
        case "fp32":
            return {name: tensor}
        case "bf16":
            return {name: tensor.to(torch.bfloat16)}
        case "int8":
            scale = tensor.abs().amax(-1, keepdim=True) / _STEPS
            steps = torch.where(scale > 0, tensor / scale, 0.0).round().clamp(-_STEPS, _STEPS)
            return {name: steps.to(torch.int8), f"{name}.scale": scale}
        case _:
            assert_never(storage)


def restored(tensor: Tensor, scale: Tensor | None) -> Tensor:
    """The numbers behind a stored tensor, in float32."""
    return tensor.to(torch.float32) if scale is None else tensor.to(torch.float32) * scale


def rounded(file: BasisFile, storage: Storage, *, vectors: bool = False) -> BasisFile:
    """The basis with the numbers that its files will hold; `vectors`: biases and thresholds are narrowed too."""

    def narrowed(_: str, tensor: Tensor) -> Tensor:
        if vectors and storage == "bf16":
            return tensor.to(torch.bfloat16).to(torch.float32)
        found = stored("x", tensor, storage)
        return restored(found["x"], found.get("x.scale"))

    layers = {layer: each.changed(narrowed) for layer, each in file.layers.items()}
    return BasisFile(file.kind, layers, file.facts)


def rounding(file: BasisFile, narrow: BasisFile) -> Rounding:
    """What is lost between a basis and its rounded self."""
    lost, whole, worst, where = 0.0, 0.0, 0.0, "nothing"
    for layer, each in file.layers.items():
        for role, wide, thin in _matrices(each.parts, narrow.layers[layer]):
            error, size = float((wide - thin).double().square().sum()), float(wide.double().square().sum())
            lost, whole = lost + error, whole + size
            if size and (error / size) ** 0.5 > worst:
                worst, where = (error / size) ** 0.5, f"{role} of layer {layer}"
    return Rounding((lost / whole) ** 0.5 if whole else 0.0, worst, where)


def _matrices(wide: Mapping[str, Tensor], thin: LayerParts) -> Iterable[tuple[str, Tensor, Tensor]]:
    for role in wide:
        tensor = wide[role].to(torch.float32)
        if tensor.ndim > 1:
            yield role, tensor, thin.parts[role]
