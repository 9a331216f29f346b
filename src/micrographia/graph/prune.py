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
    return trace.rows.abs().sum(1, dtype=torch.float64) + trace.folded.abs().sum((1, 2), dtype=torch.float64)


def complete_shares(trace: Trace) -> Float[Tensor, "row node"]:
    """|A| as a share of the complete row; what is missing to 1 is in active features without a row."""
    sums = complete_sums(trace).clamp_(min=torch.finfo(trace.rows.dtype).tiny)
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
    rows, columns = _rows(kept, n).nonzero()[:, 0], kept[: n.targets.start].nonzero()[:, 0]
    inner = scores[rows[:, None], columns]
    edges = _tied((inner >= lasting) & (inner > 0), rows, columns, n)
    kept[columns[~_with_ends(edges, rows, columns, n)]] = False
    at_row, at_column = edges.nonzero().T
    return Pruning(
        node_share=node_share,
        edge_share=edge_share,
        nodes=kept,
        target=rows[at_row],
        source=columns[at_column],
        score=inner[at_row, at_column],
        influence=reached,
        curve=curve(reached),
        importance=importance,
        candidates=candidates,
        between=int(inner.count_nonzero()),
    )


def _rows(kept: Bool[Tensor, " node"], nodes: Nodes) -> Bool[Tensor, " row"]:
    return torch.cat([kept[nodes.features], kept[nodes.targets]])


def _tied(edges: Bool[Tensor, "row column"], rows: Tensor, columns: Tensor, nodes: Nodes) -> Bool[Tensor, "row column"]:
    """The edges that are left when loose ends are taken out until nothing changes."""
    left = edges.clone()
    while True:
        has_ends = _with_ends(left, rows, columns, nodes)
        fed = torch.ones(len(rows), dtype=torch.bool, device=edges.device)
        n_features = int((rows < nodes.n_features).sum())
        fed[:n_features] = has_ends[:n_features]
        tied = left & has_ends & fed[:, None]
        if bool((tied == left).all()):
            return left
        left = tied


def _with_ends(
    edges: Bool[Tensor, "row column"], rows: Tensor, columns: Tensor, nodes: Nodes
) -> Bool[Tensor, " column"]:
    """Which columns are no loose ends: features have inputs and outputs, errors outputs; the others may stand alone."""
    n_features = int((rows < nodes.n_features).sum())
    has_ends = edges.any(0)
    has_ends[:n_features] &= edges[:n_features].any(1)
    return has_ends | (columns >= nodes.tokens.start)
