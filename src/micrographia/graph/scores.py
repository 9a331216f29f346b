"""How much of the model's computation a graph explains: two scores, in three readings, and the length of its paths.

    replacement  = Σ influence[tokens] / (Σ influence[tokens] + Σ influence[errors])
    completeness = Σ_t w_t (1 − error share of row t) / Σ w_t,   w_t = influence[t] + weight[t], over all rows t

Whatever was left out is counted as error: it is folded, signed, into the error at its layer and position before the
magnitudes are taken. circuit-tracer leaves it out instead, which flatters; that reading is given beside ours.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.graph.flow import influence, normalised, passed_up
from micrographia.graph.peer import PeerMatrix
from micrographia.graph.prune import Pruning
from micrographia.graph.trace import Trace

__all__ = ["Score", "Scores", "score"]


@dataclass(frozen=True, slots=True)
class Score:
    """Both scores in one reading; 1 is best."""

    replacement: float
    completeness: float


@dataclass(frozen=True, slots=True)
class Scores:
    """What a graph explains."""

    trace: Score
    """Of all that was traced; active features that got no row count as error."""
    shown: Score
    """Of the graph as it is shown; what pruning took counts as error too."""
    peer: Score
    """Of the trace as circuit-tracer would count it: what got no row is left out, and so are bias and position 0."""
    path_length: float
    """The mean number of features on the way from a token to a target, weighted by the influence on that way."""


def score(trace: Trace, pruning: Pruning) -> Scores:
    """Score a trace and what is shown of it."""
    n = trace.nodes
    whole = normalised(trace.honest().abs_())
    shown = normalised(_shown(trace, pruning))
    peer = PeerMatrix.of_trace(trace).scores()
    return Scores(
        trace=_score(whole, trace, whole[:, n.errors].sum(1)),
        shown=_score(shown, trace, shown[:, n.errors].sum(1) + shown[:, n.targets.start]),
        peer=Score(peer.replacement, peer.completeness),
        path_length=_path_length(whole, trace),
    )


def _score(shares: Float[Tensor, "row source"], trace: Trace, missed: Float[Tensor, " row"]) -> Score:
    n, weights = trace.nodes, trace.weights.to(shares.dtype)
    reached = influence(shares, weights)
    importance = torch.cat([reached[n.features], weights])
    from_tokens = float(reached[n.tokens].sum())
    from_errors = float(importance @ missed)
    explained = from_tokens + from_errors
    return Score(
        replacement=from_tokens / explained if explained else 1.0,
        completeness=1 - from_errors / float(importance.sum()),
    )


def _shown(trace: Trace, pruning: Pruning) -> Float[Tensor, "row source"]:
    """The magnitudes of what is shown. What a feature adds by an edge that is not shown goes to the error where it
    sits; tokens and bias have no such place, and what they lose is put in the first target's column, which is free."""
    n = trace.nodes
    honest = trace.honest()
    edges = torch.zeros(honest.shape, dtype=torch.bool, device=honest.device)
    edges[pruning.target, pruning.source] = True
    hidden = honest.masked_fill(edges, 0)
    place = n.errors.start + n.layer[n.features] * n.n_positions + n.position[n.features]
    honest[:, n.features] -= hidden[:, n.features]
    honest.index_add_(1, place, hidden[:, n.features])
    size = honest.abs_()
    lost = hidden[:, n.tokens.start : n.bias + 1].abs_()
    size[:, n.tokens.start : n.bias + 1] -= lost
    size[:, n.targets.start] = lost.sum(1)
    return size


def _path_length(shares: Float[Tensor, "row source"], trace: Trace) -> float:
    """By two sweeps upwards: how much of each row comes from tokens, and how many features that passes on its way."""
    n, weights = trace.nodes, trace.weights.to(shares.dtype)
    from_tokens = passed_up(shares, shares[:, n.tokens].sum(1), n.n_features)
    through_one = shares[:, n.features] @ from_tokens[n.features]
    hops = passed_up(shares, through_one, n.n_features)
    arrived = float(weights @ from_tokens[n.n_features :])
    return float(weights @ hops[n.n_features :]) / arrived if arrived else 0.0
