"""One training step of a per-layer transcoder, by sparse arithmetic: loss, exact gradients, Adam.

The loss is the fraction of variance unexplained, Σ‖e‖² / (n · variance), so that one learning rate serves every layer.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.training.codes import Codes, select_batch_topk, select_topk, threshold_for

__all__ = ["Gradients", "Parameters", "Selection", "StepReport", "gradients", "selected"]

Selection: TypeAlias = Literal["topk", "batchtopk"]


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """The master weights of one layer's transcoder; the step changes them in place."""

    encoder: Float[Tensor, "feature d_model"]
    encoder_bias: Float[Tensor, " feature"]
    decoder: Float[Tensor, "feature d_model"]
    bias: Float[Tensor, " d_model"]
    skip: Float[Tensor, "d_model d_model"] | None

    def tensors(self) -> list[Tensor]:
        whole = [self.encoder, self.encoder_bias, self.decoder, self.bias]
        return whole if self.skip is None else [*whole, self.skip]


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """The loss and its gradient for each tensor of the parameters, in their order."""

    loss: float
    l0: float
    tensors: list[Tensor]
    fired: Tensor
    """How often each feature was active."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step is known by."""

    loss: float
    l0: float


def selected(
    pre: Float[Tensor, "row feature"], selection: Selection, k: int, threshold: float | None
) -> tuple[Codes, float | None]:
    """The active entries, and for BatchTopK the running threshold that chose them."""
    if selection == "topk":
        return Codes.of(pre, select_topk(pre, k)), None
    now = threshold_for(pre, k)
    running = now if threshold is None else 0.9 * threshold + 0.1 * now
    return Codes.of(pre, select_batch_topk(pre, running)), running


def gradients(
    parameters: Parameters,
    codes: Codes,
    x: Float[Tensor, "row d_model"],
    y: Float[Tensor, "row d_model"],
    variance: float,
) -> Gradients:
    """The loss and its exact gradients, given which entries are active."""
    out = codes.decode(parameters.decoder) + parameters.bias
    if parameters.skip is not None:
        out = torch.addmm(out, x, parameters.skip.T)
    error = out - y
    scale = 1.0 / (len(x) * variance)
    grad = error * (2.0 * scale)
    grad_value = codes.value_gradient(grad, parameters.decoder)
    by_feature = codes.by_feature()
    found = [
        by_feature.gather(grad_value, x),
        codes.sums(grad_value),
        by_feature.gather(codes.value, grad),
        grad.sum(0),
    ]
    if parameters.skip is not None:
        found.append(grad.T @ x)
    loss = float(error.square().sum()) * scale
    if not math.isfinite(loss):
        loss = math.inf
    return Gradients(loss, len(codes.value) / len(x), found, by_feature.counts)
