"""Where the figures come from: hashes of the model and the versions that computed them."""

import hashlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from typing import cast

import torch
from torch import Tensor

from micrographia.model.weights import Weights

__all__ = ["versions", "weights_sha256"]


def weights_sha256(weights: Weights) -> str:
    """Of all tensors in their order, as they are in memory: another dtype is another hash."""
    digest = hashlib.sha256()
    for tensor in _tensors(weights):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of what computes the figures."""
    return {name: version(name) for name in ("micrographia", "torch")}


def _tensors(part: object) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, tuple):
        for each in cast("tuple[object, ...]", part):
            yield from _tensors(each)
    elif is_dataclass(part):
        for field in fields(part):
            yield from _tensors(getattr(part, field.name))
