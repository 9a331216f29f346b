"""The books of a graph: where all influence ends, what is shown of it, and what that took.

One unit of influence starts at the targets and goes down the edges that are shown, split by the shares of the complete
rows. It ends at a token, at the bias, in an error, or where it is cut off; these parts add up to 1.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.graph.flow import influence
from micrographia.graph.nodes import Kind
from micrographia.graph.prune import Pruning, complete_shares, complete_sums
from micrographia.graph.trace import Trace

__all__ = ["Counts", "Ends", "Ledger", "balance"]


@dataclass(frozen=True, slots=True)
class Ends:
    """Where one unit of influence ends; the parts add up to 1."""

    tokens: float
    """At a token, all the way by edges that are shown."""
    bias: float
    errors: float
    """In what the basis does not explain, whether the error's node is shown or not."""
    folded: float
    """In active features that got no row; at each layer and position they count together, so what cancels is gone."""
    pruned: float
    """In a feature that has a row and is not shown."""
    hidden: float
    """On an edge that is not shown, between nodes that are."""
    nowhere: float
    """In a row without any input."""

    def total(self) -> float:
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there are at each stage."""

    active_features: int
    traced_features: int
    """With a row of their own."""
    shown_features: int
    errors: int
    """Places where the basis leaves an error."""
    shown_errors: int
    edges: int
    """Of the trace, those that are not zero."""
    candidate_edges: int
    """Between nodes that carry enough influence."""
    shown_edges: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a graph shows, and what it leaves out."""

    ends: Ends
    at_position_0: float
    """The part of the unit that ends at position 0, wherever there; what ends in the bias has no position."""
    through_skips: float | None
    """The part that goes through skip paths: 0 in a basis that has none, None where there are and nobody measured."""
    gross_folded: float
    """What `ends.folded` would be if each of those features counted by itself."""
    shown_influence: float
    """The share of all nodes' influence that the nodes shown have."""
    counts: Counts


def balance(trace: Trace, pruning: Pruning, *, has_skips: bool = False) -> Ledger:
    """Follow the unit of influence down the graph."""
    n, shown = trace.nodes, pruning.nodes
    shares = complete_shares(trace)
    arriving = _arriving(shares, trace, pruning)
    gross = trace.rows.abs() / trace.complete_abs.clamp(min=torch.finfo(shares.dtype).tiny)[:, None]
    arriving_gross = _arriving(gross.to(shares.dtype), trace, pruning)
    ends, at_0 = _ends(shares, arriving, trace, pruning)
    return Ledger(
        ends=ends,
        at_position_0=at_0,
        through_skips=None if has_skips else 0.0,
        gross_folded=float(_folded(arriving_gross, trace.folded_abs, trace.complete_abs).sum()),
        shown_influence=float(pruning.influence[shown].sum() / pruning.influence.sum()),
        counts=Counts(
            active_features=trace.facts.n_active,
            traced_features=n.n_features,
            shown_features=int(shown[n.features].sum()),
            errors=int((shares[:, n.errors] > 0).any(0).sum()),
            shown_errors=int(shown[n.errors].sum()),
            edges=pruning.candidates,
            candidate_edges=pruning.between,
            shown_edges=len(pruning.source),
        ),
    )


def _arriving(shares: Float[Tensor, "row node"], trace: Trace, pruning: Pruning) -> Float[Tensor, " row"]:
    """How much of the unit comes to each row by edges that are shown."""
    n, weights = trace.nodes, trace.weights.to(shares.dtype)
    between = pruning.source < n.n_features
    target, source = pruning.target[between], pruning.source[between]
    shown = torch.zeros_like(shares[:, n.features])
    shown[target, source] = shares[target, source]
    return torch.cat([influence(shown, weights), weights])


def _ends(
    shares: Float[Tensor, "row node"], arriving: Float[Tensor, " row"], trace: Trace, pruning: Pruning
) -> tuple[Ends, float]:
    """The parts of the unit, and how much of them all lies at position 0."""
    n = trace.nodes
    by_node = arriving @ shares
    by_edge = torch.zeros_like(by_node)
    by_edge.index_add_(0, pruning.source, arriving[pruning.target] * shares[pruning.target, pruning.source])
    errors = by_node.masked_fill(n.kind != Kind.ERROR, 0)
    pruned = by_node.masked_fill((n.kind != Kind.FEATURE) | pruning.nodes, 0)
    hidden = (by_node - by_edge - pruned).clamp(min=0).masked_fill(n.kind == Kind.ERROR, 0)
    tokens = by_edge.masked_fill(n.kind != Kind.TOKEN, 0)
    complete = complete_sums(trace)
    folded = _folded(arriving, trace.folded.abs(), complete)
    ended = errors + pruned + hidden + tokens
    ends = Ends(
        tokens=float(tokens.sum()),
        bias=float(by_edge[n.bias]),
        errors=float(errors.sum()),
        folded=float(folded.sum()),
        pruned=float(pruned.sum()),
        hidden=float(hidden.sum()),
        nowhere=float(arriving[complete == 0].sum()),
    )
    return ends, float(ended[n.position == 0].sum() + folded[0])


def _folded(
    arriving: Float[Tensor, " row"], sizes: Float[Tensor, "row layer pos"], complete: Float[Tensor, " row"]
) -> Float[Tensor, " pos"]:
    """What of the unit ends in features without a row, by position."""
    weight = (arriving.double() / complete.clamp(min=torch.finfo(torch.float64).tiny)).to(sizes.dtype)
    return torch.einsum("r,rlp->p", weight, sizes)
