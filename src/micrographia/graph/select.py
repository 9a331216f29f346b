"""Which active features get a row of their own.

Influence is a flow: each row hands what reaches it on to its sources, in proportion to the magnitudes of its edges,
from the targets down to tokens, errors and the bias. What flows into a feature without a row ends there and is lost.

A threshold decides: a feature gets a row if at least so much reaches it through rows of such features. That set does
not depend on the order in which rows are computed, because what reaches a feature only grows with every row. `Downward`
finds it for a given threshold, layer by layer, in the least memory; `Reaching` lowers the threshold until little enough
is lost. `PeerRanking` is another tool's rule, to be compared with.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.errors import CallError

__all__ = ["Downward", "Everything", "PeerRanking", "Reaching", "Selection"]


@dataclass(frozen=True, slots=True)
class Reaching:
    """The threshold is lowered, each time by a factor of √½, until at most `1 - share` of the influence is lost.

    At most `max_nodes` features get rows: of those that are above a threshold together, the ones with most influence.
    """

    share: float = 0.8
    max_nodes: int | None = None
    kind: Literal["reaching"] = "reaching"

    def __post_init__(self) -> None:
        _check(self.max_nodes)
        if not 0 < self.share <= 1:
            raise CallError(
                f"share is the part of the influence to be followed, above 0 and at most 1; not {self.share}."
            )

    def __str__(self) -> str:
        capped = "" if self.max_nodes is None else f", at most {self.max_nodes} features"
        return f"highest influence first until {self.share:g} of it is followed{capped}"


@dataclass(frozen=True, slots=True)
class Downward:
    """Every feature that at least `threshold` of the influence reaches, in one pass through the layers downwards."""

    threshold: float
    kind: Literal["downward"] = "downward"

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise CallError(f"threshold is a part of the influence, above 0 and at most 1; not {self.threshold}.")

    def __str__(self) -> str:
        return f"layers downwards, every feature that {self.threshold:g} of the influence reaches"

    def choose(self, flow: Float[Tensor, " source"]) -> Int[Tensor, " chosen"]:
        """The features of a layer that get rows, in ascending order."""
        return (flow >= self.threshold).nonzero()[:, 0]


@dataclass(frozen=True, slots=True)
class Everything:
    """Every active feature."""

    kind: Literal["everything"] = "everything"

    def __str__(self) -> str:
        return "every active feature"

    def choose(self, flow: Float[Tensor, " source"]) -> Int[Tensor, " chosen"]:
        return torch.arange(len(flow), device=flow.device)


@dataclass(frozen=True, slots=True)
class PeerRanking:
    """circuit-tracer 0.5.0's way: rank all features, take the best `batch_size * update_interval`, rank again.

    Its ranking leaves out the first position's features and errors, and counts no bias among the sources of a row.
    """

    max_nodes: int
    batch_size: int = 512
    update_interval: int = 4
    kind: Literal["circuit-tracer 0.5.0"] = "circuit-tracer 0.5.0"

    def __post_init__(self) -> None:
        _check(self.max_nodes)
        if self.batch_size < 1 or self.update_interval < 1:
            raise CallError("batch_size and update_interval are whole numbers of at least 1.")

    def __str__(self) -> str:
        return f"{self.kind}: {self.max_nodes} in steps of {self.batch_size} × {self.update_interval}"


Selection: TypeAlias = Reaching | Downward | Everything | PeerRanking


def _check(max_nodes: int | None) -> None:
    if max_nodes is not None and max_nodes < 0:
        raise CallError(f"max_nodes is a whole number of at least 0, not {max_nodes}.")
