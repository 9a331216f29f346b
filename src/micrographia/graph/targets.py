"""What is explained: logits, differences of them, directions, features; at one position or several."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from micrographia.ids import TokenId

__all__ = ["Injection", "TargetRow"]


@dataclass(frozen=True, slots=True, eq=False)
class Injection:
    """A linear reading of the clean run: `vector · residual` at one place.

    `stream` reads the residual that enters block `layer` (after the last block where `layer` is their number);
    `mlp` reads the residual in front of the MLP's norm, with that norm's held scale already in the vector.
    """

    layer: int
    position: int
    vector: Float[Tensor, " d_model"]
    reads: Literal["stream", "mlp"] = "stream"


@dataclass(frozen=True, slots=True, eq=False)
class TargetRow:
    """One row to explain: the sum of its injections and of `bias`, which came to `value` in the clean run."""

    name: str
    """As people read it: `␣French`, `␣French − ␣German`, `12.301@5`, `direction at resid_post.3@7`."""
    injections: tuple[Injection, ...]
    bias: float
    value: float
    weight: float
    """Its share when influences are summed over targets; they add up to 1 over all targets of a trace."""
    probability: float | None
    """The model's probability of the token; None for what is no token."""
    token: TokenId | None

    @property
    def position(self) -> int:
        """The last position that it reads."""
        return max(injection.position for injection in self.injections)
