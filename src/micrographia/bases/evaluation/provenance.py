"""Where the figures come from: hashes of the model and the versions that computed them."""

import hashlib
from importlib.metadata import version

import torch

from micrographia.model.weights import Weights, tensors_of

__all__ = ["versions", "weights_sha256"]


def weights_sha256(weights: Weights) -> str:
    """Of all tensors in their order, as they are in memory: another dtype is another hash."""
    digest = hashlib.sha256()
    for tensor in tensors_of(weights):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of what computes the figures."""
    return {name: version(name) for name in ("micrographia", "torch")}
