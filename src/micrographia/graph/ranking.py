"""Selection by ranking again and again, as circuit-tracer 0.5.0 does it: for comparisons with that tool."""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.graph.rowbook import RowBlock
from micrographia.graph.select import PeerRanking

__all__ = ["rank_again"]


def rank_again(
    rule: PeerRanking,
    first: RowBlock,
    weights: Float[Tensor, " target"],
    layer_of: Int[Tensor, " source"],
    compute: Callable[[Int[Tensor, " source"]], RowBlock],
) -> Int[Tensor, " chosen"]:
    """Compute the rows of the features that rank highest, step by step; which these are, in ascending order.

    `first` holds the targets' rows. Sources are numbered through all layers; `compute` takes such numbers.
    """
    wanted = min(rule.max_nodes, len(layer_of))
    table = _Table(first, weights, layer_of, wanted)
    while (left := wanted - len(table.visited)) > 0:
        if wanted == len(layer_of):
            pending = torch.arange(len(layer_of), device=layer_of.device)
        else:
            order = torch.argsort(table.influence(), descending=True, stable=True)
            fresh = order[~table.seen[order]]
            pending = fresh[: min(left, rule.batch_size * rule.update_interval)]
        table.enter(compute(pending), pending)
    return table.visited.sort().values


class _Table:
    """Shares of all rows so far, in the order in which they came, and of the visited features among them."""

    def __init__(
        self, first: RowBlock, weights: Float[Tensor, " target"], layer_of: Int[Tensor, " source"], wanted: int
    ) -> None:
        self.layer_of = layer_of
        self.visited = layer_of[:0]
        self.seen = torch.zeros_like(layer_of, dtype=torch.bool)
        counts = torch.bincount(layer_of, minlength=len(first.edges.features))
        self._ends = cast("list[int]", counts.cumsum(0).tolist())
        n_targets, n_sources = len(weights), len(layer_of)
        self._shares = first.bias.new_zeros(n_targets + wanted, n_sources)
        self._among = torch.zeros(n_targets + wanted, wanted, dtype=torch.float64, device=layer_of.device)
        self._weights = weights.double()
        self._n_targets = self._n = n_targets
        self._write(first, 0)

    def enter(self, block: RowBlock, sources: Int[Tensor, " source"]) -> None:
        """Rows of newly visited features, and their columns in all rows."""
        sources = sources[block.edges.row]
        first, seen = self._n, len(self.visited)
        self._write(block, first)
        self._n += len(sources)
        self.visited = torch.cat([self.visited, sources])
        self.seen[sources] = True
        shares = self._shares
        self._among[first : self._n, :seen] = shares[first : self._n][:, self.visited[:seen]].double()
        self._among[: self._n, seen : seen + len(sources)] = shares[: self._n][:, sources].double()

    def influence(self) -> Float[Tensor, " source"]:
        """Of every feature, through the rows that are there."""
        n, k = self._n_targets, len(self.visited)
        direct = self._weights @ self._among[:n, :k]
        order = torch.argsort(self.layer_of[self.visited], descending=True, stable=True)
        among = self._among[n : n + k, :k][order][:, order]
        through = torch.empty_like(direct)
        through[order] = torch.linalg.solve_triangular(
            -among.T, direct[order][:, None], upper=False, unitriangular=True
        )[:, 0]
        parts = torch.cat([self._weights, through]).to(self._shares.dtype)
        return parts @ self._shares[: self._n]

    def _write(self, block: RowBlock, first: int) -> None:
        n, totals = len(block.index), block.total.clamp(min=1e-8)[:, None].to(block.bias.dtype)
        for columns, start, end in zip(block.edges.features, [0, *self._ends], self._ends, strict=False):
            if columns is not None:
                torch.div(columns.abs(), totals, out=self._shares[first : first + n, start:end])
