"""One training step of a per-layer transcoder, by sparse arithmetic: loss and exact gradients.

The loss is the fraction of variance unexplained, Σ‖e‖² / (n · variance), so that one learning rate serves every layer.
The two dense products (the encoder's, and the skip path's) run on narrow copies of the weights where the training
asks for them; everything else, and everything that is summed up, is as wide as the master weights.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.training.codes import Codes, places_above, places_topk, threshold_for

__all__ = [
    "Gradients",
    "Parameters",
    "Selection",
    "Shadow",
    "feature_gradients",
    "gradients",
    "loss_of",
    "selected",
]

Selection: TypeAlias = Literal["topk", "batchtopk"]

_MEMORY = 0.9
"""How much of the running threshold of BatchTopK a batch leaves as it was."""


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
class Shadow:
    """What the dense products multiply by: narrow copies of the weights, or the weights themselves."""

    encoder: Float[Tensor, "feature d_model"]
    encoder_bias: Float[Tensor, " feature"]
    skip: Float[Tensor, "d_model d_model"] | None

    @staticmethod
    def of(parameters: Parameters, dtype: torch.dtype) -> "Shadow":
        p = parameters
        return Shadow(p.encoder.to(dtype), p.encoder_bias.to(dtype), None if p.skip is None else p.skip.to(dtype))

    def follow(self, parameters: Parameters) -> None:
        """Take over what a step has changed; nothing is copied where the weights are not narrowed."""
        self.encoder.copy_(parameters.encoder)
        self.encoder_bias.copy_(parameters.encoder_bias)
        if self.skip is not None and parameters.skip is not None:
            self.skip.copy_(parameters.skip)

    def pre(self, x: Float[Tensor, "row d_model"]) -> Float[Tensor, "row feature"]:
        return F.linear(x, self.encoder, self.encoder_bias)


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """The loss and its gradient for each tensor of the parameters, in their order."""

    loss: float
    l0: float
    tensors: list[Tensor]
    fired: Tensor
    """How often each feature was active."""


def selected(
    pre: Float[Tensor, "row feature"], selection: Selection, k: int, threshold: float | None, dtype: torch.dtype
) -> tuple[Codes, float | None]:
    """The active entries, and for BatchTopK the running threshold that chose them."""
    if selection == "topk":
        return Codes.of(pre, places_topk(pre, k), dtype), None
    now = threshold_for(pre, k)
    running = now if threshold is None else _MEMORY * threshold + (1 - _MEMORY) * now
    return Codes.of(pre, places_above(pre, running), dtype), running


def feature_gradients(
    codes: Codes,
    decoders: list[Float[Tensor, "feature d_model"]],
    x: Float[Tensor, "row d_model"],
    grads: list[Float[Tensor, "row d_model"]],
) -> Iterator[Tensor]:
    """Back from the gradients of what the features write to each target, given which entries are active.

    The encoder's, its bias's, and each decoder's; before the first is given, all weights have been read.
    """
    grad_value = codes.value_gradient(grads, decoders)
    by_feature = codes.by_feature()
    yield from by_feature.gather(grad_value, x)
    yield codes.sums(grad_value)
    yield from by_feature.gather(codes.value, *grads)


def gradients(
    parameters: Parameters,
    shadow: Shadow,
    codes: Codes,
    x: Float[Tensor, "row d_model"],
    y: Float[Tensor, "row d_model"],
    variance: float,
) -> Gradients:
    """The loss and its gradients, exact up to the shadow's narrowness, given which entries are active.

    `x` and `y` are as narrow as the shadow.
    """
    wide = parameters.decoder.dtype
    error = codes.decode(parameters.decoder).add_(parameters.bias).sub_(y)
    if shadow.skip is not None:
        error += F.linear(x, shadow.skip)
    loss = loss_of(error, variance)
    grad = error.mul_(2.0 / (len(x) * variance))
    found = [*feature_gradients(codes, [parameters.decoder], x.to(wide), [grad]), grad.sum(0)]
    if shadow.skip is not None:
        found.append((grad.to(x.dtype).T @ x).to(wide))
    return Gradients(loss, len(codes.value) / len(x), found, codes.counts())


def loss_of(error: Float[Tensor, "row d_out"], variance: float) -> float:
    """The fraction of variance unexplained; infinite where it is no number."""
    flat = error.flatten()
    loss = float(torch.dot(flat, flat)) / (len(error) * variance)
    return loss if math.isfinite(loss) else math.inf
