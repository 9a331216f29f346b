"""Selection of features by influence, which is found anew after every step from the rows that are there."""

from collections.abc import Callable
from typing import TypeAlias, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.graph.rowbook import RowBlock
from micrographia.graph.select import PeerRanking, Reaching

__all__ = ["Compute", "Ranking", "rank_again", "reach"]

Compute: TypeAlias = Callable[[Int[Tensor, " source"]], RowBlock]
"""The rows of some features, which are numbered through all layers."""

_STEP = 0.5**0.5
_SMALLEST_SUM = 1e-8
_AT_ONCE = 32
"""Rows whose magnitudes are taken at once: as many as stay in the cache."""


def reach(rule: Reaching, ranking: "Ranking", compute: Compute, told: Callable[[float], None]) -> None:
    """Lower the threshold until little enough is lost. `told` hears which part of the influence is followed."""
    most = ranking.n_sources if rule.max_nodes is None else min(rule.max_nodes, ranking.n_sources)
    threshold = 1.0
    flow = ranking.influence()
    while (room := most - len(ranking.visited)) > 0:
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
    while (room := wanted - len(ranking.visited)) > 0:
        if wanted == ranking.n_sources:
            pending = torch.arange(wanted, device=ranking.seen.device)
        else:
            order = torch.argsort(ranking.influence(), descending=True, stable=True)
            fresh = order[~ranking.seen[order]]
            pending = fresh[: min(room, rule.batch_size * rule.update_interval)].sort().values
        ranking.enter(compute(pending), pending)


class Ranking:
    """How much influence reaches each feature through the rows that are there."""

    def __init__(self, first: RowBlock, weights: Float[Tensor, " target"], layer_of: Int[Tensor, " source"]) -> None:
        """`first` holds the targets' rows, and `weights` what each of them begins with, in the same order."""
        self.n_sources = len(layer_of)
        self.visited = layer_of[:0]
        self.seen = torch.zeros_like(layer_of, dtype=torch.bool)
        self._layer_of = layer_of
        self._blocks: list[RowBlock] = []
        self._begins = self._handed_on(first, weights)
        self._among = self._begins.new_zeros(0, 0)
        """Shares among the visited, in the order in which they came: row, then source."""

    def enter(self, block: RowBlock, sources: Int[Tensor, " source"]) -> None:
        """Rows of newly visited features."""
        old = len(self.visited)
        self._blocks.append(block)
        self.visited = torch.cat([self.visited, sources[block.edges.row]])
        self.seen[sources] = True
        among = self._among.new_zeros(len(self.visited), len(self.visited))
        among[:old, :old] = self._among
        first = 0
        for one in self._blocks:
            end, skipped = first + len(one.total), 0 if one is block else old
            among[first:end, skipped:] = _shares(one, self.visited[skipped:])
            first = end
        self._among = among

    def influence(self) -> Float[Tensor, " source"]:
        """Of every feature, in float64."""
        flow, first = self._begins.clone(), 0
        reached = self._reached()
        for block in self._blocks:
            flow += self._handed_on(block, reached[first : first + len(block.total)])
            first += len(block.total)
        return flow

    def _reached(self) -> Float[Tensor, " visited"]:
        """What reaches the visited, who alone hand it on: a triangular system, because it runs down the layers."""
        direct = self._begins[self.visited]
        order = torch.argsort(self._layer_of[self.visited], descending=True, stable=True)
        system = self._among[order][:, order].T.neg()
        solved = cast(
            "Tensor", torch.linalg.solve_triangular(system, direct[order][:, None], upper=False, unitriangular=True)
        )
        return torch.empty_like(direct).index_copy_(0, order, solved[:, 0])

    def _handed_on(self, block: RowBlock, reached: Float[Tensor, " row"]) -> Float[Tensor, " source"]:
        """What rows give to every feature, of what has reached them."""
        flow = torch.zeros(self.n_sources, dtype=torch.float64, device=reached.device)
        parts = reached.double() / block.total.clamp(min=_SMALLEST_SUM)
        edges = block.edges.whole
        for first in range(0, len(parts), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            flow[: edges.shape[1]] += parts[some].to(edges.dtype) @ edges[some].abs()
        return flow


def _shares(block: RowBlock, sources: Int[Tensor, " source"]) -> Float[Tensor, "row source"]:
    """Of some features in a block's rows; a row has columns only for what lies below its block."""
    edges, total = block.edges.whole, block.total.clamp(min=_SMALLEST_SUM)
    shares = torch.zeros(len(total), len(sources), dtype=torch.float64, device=total.device)
    below = (sources < edges.shape[1]).nonzero()[:, 0]
    shares[:, below] = edges[:, sources[below]].abs().double() / total[:, None]
    return shares
