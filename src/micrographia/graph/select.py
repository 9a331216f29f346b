"""Which active features get a row of their own.

Influence is a flow: each row hands what reaches it on to its sources, in proportion to the magnitudes of its edges,
from the targets down to tokens, errors and the bias. What flows into a feature without a row ends there, so the rule
decides how much of the explanation is lost. `Downward` decides layer by layer, each layer with exact influences,
because these depend only on rows of higher layers. `PeerRanking` is another tool's rule, to be compared with.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.errors import CallError

__all__ = ["Downward", "Everything", "PeerRanking", "Selection", "reaching"]


@dataclass(frozen=True, slots=True)
class Downward:
    """In each layer the smallest set of features that takes in `share` of what flows into the layer's features.

    At most `max_nodes` in all: what is left of them is divided evenly among the layers still to come, and what a layer
    does not use the layers below it may.
    """

    share: float = 0.9
    max_nodes: int | None = None
    kind: Literal["downward"] = "downward"

    def __post_init__(self) -> None:
        _check(self.max_nodes)
        if not 0 < self.share <= 1:
            raise CallError(
                f"share is above 0 and at most 1, the part of the influence to be followed; not {self.share}."
            )

    def __str__(self) -> str:
        capped = "" if self.max_nodes is None else f", at most {self.max_nodes}"
        return f"layers downwards, {self.share:g} of each layer's influence{capped}"

    def choose(self, flow: Float[Tensor, " source"], taken: int, layers_left: int) -> Int[Tensor, " chosen"]:
        """The features of a layer that get rows, in ascending order; equals are taken in canonical order."""
        room = len(flow) if self.max_nodes is None else -(-(self.max_nodes - taken) // layers_left)
        return reaching(flow, self.share)[:room].sort().values


@dataclass(frozen=True, slots=True)
class Everything:
    """Every active feature."""

    kind: Literal["everything"] = "everything"

    def __str__(self) -> str:
        return "every active feature"

    def choose(self, flow: Float[Tensor, " source"], taken: int, layers_left: int) -> Int[Tensor, " chosen"]:
        del taken, layers_left
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


Selection: TypeAlias = Downward | Everything | PeerRanking


def reaching(flow: Float[Tensor, " source"], share: float) -> Int[Tensor, " chosen"]:
    """The smallest set that holds this share of the sum, largest first; what has no flow is never in it."""
    order = torch.argsort(flow, descending=True, stable=True)
    running = flow[order].cumsum(0)
    some = int((flow > 0).sum())
    if share >= 1 or not some:
        return order[:some]
    enough = int((running < share * running[-1]).sum()) + 1
    return order[: min(enough, some)]


def _check(max_nodes: int | None) -> None:
    if max_nodes is not None and max_nodes < 0:
        raise CallError(f"max_nodes is a whole number of at least 0, not {max_nodes}.")
