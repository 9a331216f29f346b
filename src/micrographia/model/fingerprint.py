"""Hashes of samples of tensors, quick enough for each trace: they tell models and bases apart in any precision."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from micrographia.model.weights import Weights, tensors_of

__all__ = ["fingerprint", "weights_fingerprint"]

_SAMPLES = 64


def weights_fingerprint(weights: Weights) -> str:
    """Of every tensor of a model."""
    return fingerprint("weights", tensors_of(weights))


def fingerprint(kind: str, tensors: Iterable[Tensor]) -> str:
    """Of a kind of thing, and of the shape of each of its tensors and some of its numbers in bfloat16."""
    digest = hashlib.sha256(kind.encode())
    for tensor in tensors:
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // _SAMPLES)].to("cpu", torch.bfloat16)
        digest.update(f"{tuple(tensor.shape)}".encode() + some.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()
