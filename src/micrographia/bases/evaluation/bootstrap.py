"""Intervals by drawing documents anew: figures are functions of sums over documents.

The same draws serve every figure, so that a difference of two is paired.
"""

from collections.abc import Callable
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

__all__ = ["Bootstrap", "Estimate"]

_TAIL = 0.025


class Estimate(BaseModel):
    """A figure, and the 95 % interval around it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value lies in the interval."""
        return self.low <= value <= self.high


@final
class Bootstrap:
    """So many documents, drawn with replacement as often as there are, again and again."""

    __slots__ = ("_draws",)

    def __init__(self, n_documents: int, *, draws: int, seed: int) -> None:
        even = np.full(n_documents, 1 / n_documents)
        counts = np.random.default_rng(seed).multinomial(n_documents, even, size=draws)
        self._draws = torch.from_numpy(counts).to(torch.float64)

    def estimates(
        self, figure: Callable[..., Float[Tensor, "*draw figure"]], *sums: Float[Tensor, "document ..."]
    ) -> tuple[Estimate | None, ...]:
        """Several figures of sums over documents; None where a figure is not defined.

        `figure` takes what each of `sums` comes to over all documents, with any axes in front.
        """
        exact = figure(*(each.sum(0) for each in sums))
        drawn = figure(*(self._drawn(each) for each in sums))
        return tuple(_estimate(float(value), drawn[:, i]) for i, value in enumerate(exact))

    def estimate(
        self, figure: Callable[..., Float[Tensor, "*draw"]], *sums: Float[Tensor, "document ..."]
    ) -> Estimate | None:
        """One figure."""

        def column(*totals: Tensor) -> Tensor:
            return figure(*totals)[..., None]

        return self.estimates(column, *sums)[0]

    def _drawn(self, sums: Float[Tensor, "document ..."]) -> Float[Tensor, "draw ..."]:
        flat = sums.to(torch.float64).reshape(len(sums), -1)
        return (self._draws @ flat).reshape(len(self._draws), *sums.shape[1:])


def _estimate(value: float, drawn: Float[Tensor, " draw"]) -> Estimate | None:
    defined = drawn[drawn.isfinite()]
    if not np.isfinite(value) or not len(defined):
        return None
    low, high = (float(defined.quantile(share)) for share in (_TAIL, 1 - _TAIL))
    return Estimate(value=value, low=low, high=high)
