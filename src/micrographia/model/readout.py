"""How long the vectors are by which tokens are read from the last residual: what logits must be divided by to be
compared as cosines. Rows of an unembedding differ threefold in length, and by the logit alone the same long ones lead
almost everywhere."""

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.model.weights import Weights

__all__ = ["token_lengths"]


def token_lengths(weights: Weights) -> Float[Tensor, " d_vocab"]:
    """The length of each token's row of the unembedding, seen through the final norm's gain, less the rows' mean."""
    norm = weights.final_norm
    rows = (weights.unembed.weight * norm.gain).float()
    rows = rows - rows.mean(0)
    if norm.centred:
        rows = rows - rows.mean(1, keepdim=True)
    return rows.square().sum(1).sqrt().clamp(min=torch.finfo(torch.float32).tiny)
