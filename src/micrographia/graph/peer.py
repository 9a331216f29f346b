"""Pruning and scores as circuit-tracer 0.5.0 defines them, to be compared with; ours are in `prune` and `scores`.

What is different there: rows are normalised over the nodes that were kept, as if the others were not there; there is
no bias; features and errors at position 0 are left out; and edges are scored after the pruned nodes are taken out and
the rest is normalised once more. The influence itself is the same sum over paths, found here by one triangular
solution instead of by power iteration.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from micrographia.errors import CallError
from micrographia.graph.flow import curve, influence, lowest, normalised
from micrographia.graph.trace import Trace

__all__ = ["PeerMatrix", "PeerPruning", "PeerScores"]

_STRIP = 64


@dataclass(frozen=True, slots=True)
class PeerPruning:
    """What circuit-tracer's `prune_graph` keeps, and each source's place on the cumulative curve of influence."""

    features: Bool[Tensor, " feature"]
    errors: Bool[Tensor, " error"]
    edges: Bool[Tensor, "row source"]
    curve: Float[Tensor, " source"]


@dataclass(frozen=True, slots=True)
class PeerScores:
    """What circuit-tracer's `compute_graph_scores` gives."""

    replacement: float
    completeness: float


@dataclass(frozen=True, slots=True, eq=False)
class PeerMatrix:
    """Rows of features and logits; columns of features, from the lowest layer upwards, then errors, then tokens."""

    rows: Float[Tensor, "row source"]
    n_features: int
    n_errors: int
    weights: Float[Tensor, " logit"]

    def __post_init__(self) -> None:
        if self.n_features + len(self.weights) != len(self.rows):
            raise CallError(
                f"{self.n_features} features and {len(self.weights)} logits are no {len(self.rows)} rows: give one "
                "row for each."
            )
        if self.n_features + self.n_errors > self.rows.shape[1]:
            raise CallError(
                f"{self.n_features} features and {self.n_errors} errors do not fit {self.rows.shape[1]} columns."
            )
        if not _is_triangular(self.rows[: self.n_features, : self.n_features]):
            raise CallError(
                "A feature's inputs must stand before it: order the features from the lowest layer upwards."
            )

    @staticmethod
    def of_square(
        matrix: Float[Tensor, "node node"], n_features: int, n_errors: int, weights: Float[Tensor, " logit"]
    ) -> "PeerMatrix":
        """From a matrix as circuit-tracer keeps it: features, errors, tokens and logits on both sides."""
        first_logit = len(matrix) - len(weights)
        rows = torch.cat([matrix[:n_features, :first_logit], matrix[first_logit:, :first_logit]])
        return PeerMatrix(rows, n_features, n_errors, weights)

    @staticmethod
    def of_trace(trace: Trace) -> "PeerMatrix":
        """From a trace of ours: without the bias, without what has no row, and without all that lies at position 0
        but its token, as circuit-tracer leaves them out."""
        n = trace.nodes
        behind = n.position != 0
        errors = torch.arange(n.errors.start, n.errors.stop)[behind[n.errors]]
        features = behind[n.features].nonzero()[:, 0]
        rows = torch.cat([features, torch.arange(n.n_features, trace.n_rows)])
        columns = torch.cat([features, errors, torch.arange(n.tokens.start, n.tokens.stop)])
        chosen = trace.rows.index_select(0, rows).index_select(1, columns)
        return PeerMatrix(chosen, len(features), len(errors), trace.weights)

    def influence(self) -> Float[Tensor, " source"]:
        """Every source's influence on the logits, over all paths; a row's absolute values are made to add up to 1."""
        return influence(normalised(self.rows.abs()), self.weights)

    def prune(self, node_share: float = 0.8, edge_share: float = 0.98) -> PeerPruning:
        """The masks of circuit-tracer's `prune_graph`.

        At a share of 1 it keeps or drops what rounding decides; here all that has any influence is kept.
        """
        reached = self.influence()
        n, first_token = self.n_features, self.n_features + self.n_errors
        kept = reached >= lowest(reached, node_share)
        kept[first_token:] = True
        rows = torch.cat([kept[:n], torch.ones(len(self.weights), dtype=torch.bool)]).nonzero()[:, 0]
        columns = kept.nonzero()[:, 0]
        inner = self._edges(rows, columns, edge_share)
        tied = _drop_loose_ends(inner, int(kept[:n].sum()), int(kept[:first_token].sum()))
        kept[columns[~tied]] = False
        edges = torch.zeros_like(self.rows, dtype=torch.bool)
        edges[rows[:, None], columns] = inner
        return PeerPruning(kept[:n], kept[n:first_token], edges, curve(reached))

    def scores(self) -> PeerScores:
        """How much of what reaches the logits comes from tokens, and how much of all inputs is no error."""
        shares = normalised(self.rows.abs())
        reached = influence(shares, self.weights)
        errors = slice(self.n_features, self.n_features + self.n_errors)
        from_tokens, from_errors = float(reached[errors.stop :].sum()), float(reached[errors].sum())
        # Errors and tokens have no inputs, so nothing of theirs is an error: circuit-tracer counts them as complete.
        importance = torch.cat([reached[: self.n_features], self.weights.to(reached.dtype)])
        missed = float(importance @ shares[:, errors].sum(1))
        completeness = 1 - missed / (float(reached.sum()) + float(self.weights.sum()))
        return PeerScores(from_tokens / (from_tokens + from_errors), completeness)

    def _edges(self, rows: Tensor, columns: Tensor, share: float) -> Bool[Tensor, "row source"]:
        """Which edges between the kept nodes are kept: the rest of each row is made to add up to 1 once more."""
        shares = normalised(self.rows.index_select(0, rows).index_select(1, columns).abs_())
        through = influence(shares, self.weights)[: len(shares) - len(self.weights)]
        scores = shares.mul_(torch.cat([through, self.weights.to(shares.dtype)])[:, None])
        return scores >= lowest(scores.flatten(), share)


def _is_triangular(square: Float[Tensor, "feature feature"]) -> bool:
    """Whether all on the diagonal and above it is zero; looked at in strips, from their diagonal on."""
    starts = range(0, len(square), _STRIP)
    return not any(bool(square[start : start + _STRIP, start:].triu().count_nonzero()) for start in starts)


def _drop_loose_ends(edges: Bool[Tensor, "row source"], n_features: int, first_token: int) -> Bool[Tensor, " source"]:
    """Take out, until nothing changes, features and errors without outputs and features without inputs."""
    left = torch.ones(edges.shape[1], dtype=torch.bool)
    while True:
        before = int(left.sum())
        left[:first_token] &= edges[:, :first_token].any(0)
        left[:n_features] &= edges[:n_features].any(1)
        if int(left.sum()) == before:
            return left
        edges[:n_features][~left[:n_features]] = False
        edges[:, ~left] = False
