"""What one model is built like: its sizes and the form of each of its parts.

An `Anatomy` is plain data. The forward pass reads it and nothing else, so there is no
`if "llama" in name` anywhere: a family of models is a row in `families`, and a row makes anatomies.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

__all__ = ["Activation", "Anatomy", "QkNorm", "Rotary"]

QkNorm = Literal["none", "head", "flat"]
"""Queries and keys are normalised: not at all, each head alone, or all heads as one long vector."""


class Activation(StrEnum):
    """The nonlinearity of the MLP."""

    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    RELU = "relu"


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary positions: the angle of pair i at position p is `p * frequencies[i]`; the rest of the head stays."""

    frequencies: tuple[float, ...]
    scaling: float = 1.0

    @property
    def dims(self) -> int:
        return 2 * len(self.frequencies)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Sizes and forms of one model; `windows` and `rotaries` hold one entry per layer."""

    family: str
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    d_vocab: int
    context: int
    eps: float
    norm: Literal["rms", "layer"]
    activation: Activation
    gated: bool
    parallel: bool
    pre_norm: bool
    post_norm: bool
    qk_norm: QkNorm
    learned_positions: bool
    tied: bool
    attn_bias: bool | None
    """Whether attention's matrices have biases; None is as the checkpoint has them."""
    mlp_bias: bool | None
    attn_scale: float
    attn_cap: float | None
    logit_cap: float | None
    embed_scale: float
    windows: tuple[int | None, ...]
    rotaries: tuple[Rotary | None, ...]

    @property
    def group(self) -> int:
        """Query heads that share one key-value head."""
        return self.n_heads // self.n_kv_heads
