"""A model's tensors, each under the name of the part it is. Linear maps are `[out, in]`, as on disk."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import cast

from jaxtyping import Float
from torch import Tensor

from micrographia.model.products import linear

__all__ = ["AttentionWeights", "BlockWeights", "Linear", "MlpWeights", "NormWeights", "Weights", "tensors_of"]


@dataclass(frozen=True, slots=True)
class Linear:
    """The map x ↦ x Wᵀ + b."""

    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"] | None = None

    def __call__(self, x: Float[Tensor, "... in"]) -> Float[Tensor, "... out"]:
        return linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class NormWeights:
    """x ↦ gain · x / scale(x) + bias, with x centred first when `centred` (LayerNorm)."""

    gain: Float[Tensor, " d"]
    bias: Float[Tensor, " d"] | None
    eps: float
    centred: bool


@dataclass(frozen=True, slots=True)
class AttentionWeights:
    """Maps to queries, keys, values, and from all heads' mixed values to the output."""

    q: Linear
    k: Linear
    v: Linear
    o: Linear
    q_norm: NormWeights | None = None
    k_norm: NormWeights | None = None


@dataclass(frozen=True, slots=True)
class MlpWeights:
    """Gated: down(act(gate x) · up x). Plain (no gate): down(act(up x))."""

    gate: Linear | None
    up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """One block; a norm that its family does not have is None."""

    attn_norm: NormWeights | None
    attn: AttentionWeights
    attn_post_norm: NormWeights | None
    mlp_norm: NormWeights | None
    mlp: MlpWeights
    mlp_post_norm: NormWeights | None


@dataclass(frozen=True, slots=True)
class Weights:
    """The whole model."""

    embed: Float[Tensor, "d_vocab d_model"]
    pos_embed: Float[Tensor, "context d_model"] | None
    blocks: tuple[BlockWeights, ...]
    final_norm: NormWeights
    unembed: Linear


def tensors_of(part: object) -> Iterator[Tensor]:
    """Every tensor inside records of records, in their order."""
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, tuple):
        for each in cast("tuple[object, ...]", part):
            yield from tensors_of(each)
    elif is_dataclass(part):
        for field in fields(part):
            yield from tensors_of(getattr(part, field.name))
