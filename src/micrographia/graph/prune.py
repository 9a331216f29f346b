"""What of a trace is worth showing: the nodes that carry most of the influence, and the edges that carry most of it.

    Â = |A| / Σ|A|            over the complete row: what has no node is added up, signed, at its layer and position
    influence = w (Â + Â² + …)
    score[t, s] = Â[t, s] · (influence[t] + w[t])

Both shares are shares of all that the trace has nodes for, whatever the other one is: so raising one never takes out
what was shown before. What flows into features without a row competes with nothing; it stands in the ledger.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from micrographia.graph.flow import curve, influence, lowest
from micrographia.graph.nodes import Nodes
from micrographia.graph.trace import Trace

__all__ = ["Pruning", "complete_shares", "complete_sums", "prune"]

_ROWS = 256
"""Rows that are looked at together."""


@dataclass(frozen=True, slots=True, repr=False)
class Pruning:
    """Which nodes and edges of a trace are shown, and why. Edges are ordered by target, then source."""

    node_share: float
    edge_share: float
    nodes: Bool[Tensor, " node"]
    target: Int[Tensor, " edge"]
    """The row that an edge leads to: a feature's number, or a target's behind them."""
    source: Int[Tensor, " edge"]
    score: Float[Tensor, " edge"]
    influence: Float[Tensor, " node"]
    """0 for the targets."""
    curve: Float[Tensor, " node"]
    """Each node's place on the cumulative curve of influence; small means important."""
    importance: Float[Tensor, " row"]
    """What flows through each row: its influence, or a target's weight."""
    candidates: int
    """Edges of the trace that are not zero."""
    between: int
    """Edges that are not zero between the nodes that carry enough influence."""

    def __repr__(self) -> str:
        return f"<Pruning: {int(self.nodes.sum())} nodes, {len(self.source)} edges>"


def complete_sums(trace: Trace) -> Float[Tensor, " row"]:
    """Σ|A| over the complete row, in float64; features that got no row are one source at each layer and position."""
    blocks = (trace.rows[start : start + _ROWS] for start in range(0, trace.n_rows, _ROWS))
    parts = [block.abs().sum(1, dtype=torch.float64) for block in blocks]
    return torch.cat(parts) + trace.folded.abs().sum((1, 2), dtype=torch.float64)


def complete_shares(trace: Trace) -> Float[Tensor, "row node"]:
    """|A| as a share of the complete row; what is missing to 1 is in active features without a row."""
    sums = complete_sums(trace).to(trace.rows.dtype).clamp_(min=torch.finfo(trace.rows.dtype).tiny)
    return trace.rows.abs().div_(sums[:, None])


def prune(trace: Trace, node_share: float = 0.8, edge_share: float = 0.98) -> Pruning:
    """Keep the fewest nodes that carry a share of the influence, and the fewest edges that carry a share of theirs.

    Tokens, the bias and targets always stay; a feature without inputs or outputs, or an error without outputs, goes.
    What equals the last one kept is kept too.
    """
    n = trace.nodes
    shares = complete_shares(trace)
    reached = influence(shares, trace.weights)
    kept = reached >= lowest(reached, node_share)
    kept[n.tokens.start :] = True
    importance = torch.cat([reached[n.features], trace.weights.to(reached.dtype)])
    scores = shares.mul_(importance[:, None])
    lasting, candidates = lowest(scores, edge_share), int(scores.count_nonzero())
    edges, between = _Edges.among(scores, kept, lasting, n)
    edges = edges.tied(kept, n)
    kept = kept & edges.with_ends(n)
    return Pruning(
        node_share=node_share,
        edge_share=edge_share,
        nodes=kept,
        target=edges.target,
        source=edges.source,
        score=edges.score,
        influence=reached,
        curve=curve(reached),
        importance=importance,
        candidates=candidates,
        between=between,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """Single edges, ordered by target, then source."""

    target: Int[Tensor, " edge"]
    source: Int[Tensor, " edge"]
    score: Float[Tensor, " edge"]

    @staticmethod
    def among(
        scores: Float[Tensor, "row node"], kept: Bool[Tensor, " node"], lasting: float, nodes: Nodes
    ) -> "tuple[_Edges, int]":
        """Those between kept nodes that score enough, and how many between them are not zero; block by block."""
        rows = torch.cat([kept[nodes.features], kept[nodes.targets]]).nonzero()[:, 0]
        columns, between = kept[: nodes.targets.start].nonzero()[:, 0], 0
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            inner = scores.index_select(0, some).index_select(1, columns)
            between += int(inner.count_nonzero())
            row, column = ((inner >= lasting) & (inner > 0)).nonzero().T
            parts.append((some[row], columns[column], inner[row, column]))
        target, source, score = (torch.cat(each) for each in zip(*parts, strict=True))
        return _Edges(target, source, score), between

    def tied(self, kept: Bool[Tensor, " node"], nodes: Nodes) -> "_Edges":
        """The edges that are left when loose ends are taken out until nothing changes."""
        left, n_targets = self, len(kept) - nodes.targets.start
        while True:
            ends = left.with_ends(nodes)
            fed = torch.cat([ends[nodes.features], ends.new_ones(n_targets)])
            stays = ends[left.source] & fed[left.target]
            if bool(stays.all()):
                return left
            left = _Edges(left.target[stays], left.source[stays], left.score[stays])

    def with_ends(self, nodes: Nodes) -> Bool[Tensor, " node"]:
        """Which nodes are no loose ends: features have inputs and outputs, errors outputs, others may stand alone."""
        ends = torch.zeros(len(nodes), dtype=torch.bool, device=self.source.device)
        has_inputs = ends[: nodes.n_features].clone()
        has_inputs[self.target[self.target < nodes.n_features]] = True
        ends[self.source] = True
        ends[nodes.features] &= has_inputs
        ends[nodes.tokens.start :] = True
        return ends
