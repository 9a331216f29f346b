"""Selection of features by influence, which is found anew after every step from the rows that are there."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.graph.rowbook import RowBook
from micrographia.graph.select import PeerRanking, Reaching

__all__ = ["Compute", "Ranking", "rank_again", "reach"]

Compute: TypeAlias = Callable[[Int[Tensor, " source"]], slice]
"""Enters the rows of some features, which are numbered through all layers, into the book: which rows they are there."""

_STEP = 0.5**0.5
_SMALLEST_SUM = 1e-8


def reach(rule: Reaching, ranking: "Ranking", compute: Compute, told: Callable[[float], None]) -> None:
    """Lower the threshold until little enough is lost. `told` hears which part of the influence is followed."""
    most = ranking.n_sources if rule.max_nodes is None else min(rule.max_nodes, ranking.n_sources)
    threshold = 1.0
    flow = ranking.influence()
    while (room := most - ranking.n_visited) > 0:
        unseen = torch.where(ranking.seen, 0.0, flow)
        lost, highest = float(unseen.sum()), float(unseen.max())
        enough = lost <= 1 - rule.share
        told(1 - lost)
        if not highest or (enough and highest < threshold):
            break
        while highest < threshold:
            threshold *= _STEP
        above = (unseen >= threshold).nonzero()[:, 0]
        fresh = above[torch.argsort(unseen[above], descending=True, stable=True)][:room].sort().values
        ranking.enter(compute(fresh), fresh)
        flow = ranking.influence()
        # Far from the share, the features that have just come above this threshold may wait for the next one.
        threshold = threshold if enough else threshold * _STEP


def rank_again(rule: PeerRanking, ranking: "Ranking", compute: Compute) -> None:
    """Compute the rows of the features that rank highest, `batch_size * update_interval` of them in each step."""
    wanted = min(rule.max_nodes, ranking.n_sources)
    while (room := wanted - ranking.n_visited) > 0:
        if wanted == ranking.n_sources:
            pending = torch.arange(wanted, device=ranking.seen.device)
        else:
            pending = _highest(ranking, min(room, rule.batch_size * rule.update_interval))
        ranking.enter(compute(pending), pending)


def _highest(ranking: "Ranking", count: int) -> Int[Tensor, " chosen"]:
    """The features without rows that have most influence; of equal ones those that come first."""
    unseen = torch.where(ranking.seen, -1.0, ranking.influence())
    last = unseen.topk(count).values[-1]
    above, equal = ((unseen > last).nonzero()[:, 0], (unseen == last).nonzero()[:, 0])
    return torch.cat([above, equal[: count - len(above)]]).sort().values


class Ranking:
    """How much influence reaches each feature through the rows that are there.

    Influence runs down the layers: what has reached a layer's features is known when all rows above have handed on
    theirs. So one pass is enough, and only below the highest row that is new does anything change.
    """

    def __init__(self, book: RowBook, weights: Float[Tensor, " row"], counts: Sequence[int]) -> None:
        """`book` holds the targets' rows, `weights` what each of them begins with, `counts` each layer's features."""
        self._book = book
        self._starts = [0, *accumulate(counts)]
        self._parts = weights / book.total.clamp(min=_SMALLEST_SUM)
        self._flow = weights.new_zeros(self.n_sources)
        self.seen = torch.zeros_like(self._flow, dtype=torch.bool)
        self.n_visited = 0
        self._changed = len(counts)
        """Below this layer flows are to be found anew."""

    @property
    def n_sources(self) -> int:
        return self._starts[-1]

    def enter(self, rows: slice, sources: Int[Tensor, " source"]) -> None:
        """Rows of newly visited features."""
        self.seen[sources] = True
        self.n_visited += len(sources)
        layer, total = self._book.layer[rows], self._book.total[rows]
        starts = torch.tensor(self._starts, device=layer.device)
        reached = self._flow[starts[layer] + self._book.index[rows]]
        self._parts = torch.cat([self._parts, reached / total.clamp(min=_SMALLEST_SUM)])
        self._changed = max(self._changed, int(layer.max()))

    def influence(self) -> Float[Tensor, " source"]:
        """Of every feature, in float64."""
        book = self._book
        for layer in reversed(range(self._changed)):
            mine = slice(self._starts[layer], self._starts[layer + 1])
            flow = self._flow[mine] = book.columns[layer].flow(self._parts)
            rows = (book.layer == layer).nonzero()[:, 0]
            self._parts[rows] = flow[book.index[rows]] / book.total[rows].clamp(min=_SMALLEST_SUM)
        self._changed = 0
        return self._flow
