"""How a feature's pre-activation becomes its activation.

Every rule leaves an active feature's pre-activation as it is and sets the others to zero, so on the active ones a
transcoder is linear.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["ActivationRule", "BatchTopK", "JumpRelu", "Relu", "TopK", "activated"]


@dataclass(frozen=True, slots=True)
class Relu:
    """Active where positive."""

    kind: Literal["relu"] = "relu"


@dataclass(frozen=True, slots=True, eq=False)
class JumpRelu:
    """Active where above the feature's own threshold."""

    threshold: Float[Tensor, " feature"]
    kind: Literal["jumprelu"] = "jumprelu"


@dataclass(frozen=True, slots=True)
class TopK:
    """At each position the k largest, as far as they are positive."""

    k: int
    kind: Literal["topk"] = "topk"


@dataclass(frozen=True, slots=True)
class BatchTopK:
    """In training the k·n largest of a batch of n positions; read out, all above the threshold that this ran at."""

    k: int
    threshold: float
    kind: Literal["batchtopk"] = "batchtopk"


ActivationRule: TypeAlias = Relu | JumpRelu | TopK | BatchTopK


def activated(rule: ActivationRule, pre: Float[Tensor, "row feature"]) -> Float[Tensor, "row feature"]:
    """The activations at read-out: each position by itself, whatever stands beside it."""
    match rule:
        case Relu():
            return pre.relu()
        case JumpRelu(threshold):
            return torch.where(pre > threshold.clamp(min=0), pre, 0.0)
        case TopK(k):
            best = pre.topk(min(k, pre.shape[-1]), dim=-1)
            return torch.zeros_like(pre).scatter_(-1, best.indices, best.values.relu())
        case BatchTopK(_, threshold):
            return torch.where(pre > max(threshold, 0.0), pre, 0.0)
        case _:
            assert_never(rule)
