"""Hashes of samples of tensors, quick enough for each trace: they tell models and bases apart."""

import hashlib
from collections.abc import Iterator

from torch import Tensor

from micrographia.bases.basis import Decomposition
from micrographia.bases.neurons import Neurons
from micrographia.model.weights import Weights, tensors_of

__all__ = ["basis_fingerprint", "model_fingerprint"]

_SAMPLES = 64


def model_fingerprint(weights: Weights) -> str:
    """Of samples of every weight."""
    return _digest(tensors_of(weights))


def basis_fingerprint(basis: object, found: Decomposition) -> str:
    """Of samples of every matrix that features read and write through; the rule's name where features are neurons."""
    if isinstance(basis, Neurons):
        return hashlib.sha256(basis.gate_rule.encode()).hexdigest()
    return _digest(
        tensor
        for layer in found.layers
        for tensor in (*(t.rows for t in layer.reads), *(t.rows for t in layer.writes.values()), layer.skip)
        if tensor is not None
    )


def _digest(tensors: Iterator[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        flat = tensor.detach().view(-1) if tensor.is_contiguous() else tensor.detach().flatten()
        step = max(1, len(flat) // _SAMPLES)
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(flat[::step].double().cpu().numpy().tobytes())
    return digest.hexdigest()
