"""Small random matrices of edges, as circuit-tracer lays them out, and its rules written out slowly."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Matrix", "random_matrix", "slow_influence", "slow_masks", "slow_scores"]


@dataclass(frozen=True)
class Matrix:
    edges: Tensor
    n_features: int
    n_errors: int
    n_tokens: int
    weights: Tensor

    @property
    def counts(self) -> dict[str, int]:
        return {"n_features": self.n_features, "n_errors": self.n_errors, "n_tokens": self.n_tokens}

    @property
    def all_weights(self) -> Tensor:
        return torch.cat([self.edges.new_zeros(len(self.edges) - len(self.weights)), self.weights])


def random_matrix(seed: int, *, n_layers: int = 4, per_layer: int = 4, n_tokens: int = 3, n_logits: int = 2) -> Matrix:
    """Every feature reads what lies in lower layers, and about a third of that not at all."""
    generator = torch.Generator().manual_seed(seed)
    n_features, n_errors = n_layers * per_layer, n_layers * n_tokens
    n = n_features + n_errors + n_tokens + n_logits
    layer_of = torch.cat(
        [
            torch.arange(n_layers).repeat_interleave(per_layer),
            torch.arange(n_layers).repeat_interleave(n_tokens),
            torch.full((n_tokens,), -1),
            torch.full((n_logits,), n_layers),
        ]
    )
    edges = torch.randn(n, n, generator=generator, dtype=torch.float64)
    edges *= torch.rand(n, n, generator=generator) > 0.3
    edges *= layer_of[:, None] > layer_of
    edges[n_features : n_features + n_errors + n_tokens] = 0
    weights = torch.rand(n_logits, generator=generator, dtype=torch.float64).softmax(0)
    return Matrix(edges, n_features, n_errors, n_tokens, weights)


def slow_shares(edges: Tensor) -> Tensor:
    shares = torch.zeros_like(edges)
    for row in range(len(edges)):
        total = edges[row].abs().sum()
        if total > 0:
            shares[row] = edges[row].abs() / total
    return shares


def slow_influence(edges: Tensor, weights: Tensor) -> Tensor:
    """The sum over paths of every length, one length after the other."""
    shares, total, step = slow_shares(edges), torch.zeros_like(weights), weights
    for _ in range(len(edges)):
        step = step @ shares
        total = total + step
    return total


def slow_masks(matrix: Matrix, node_share: float, edge_share: float) -> tuple[Tensor, Tensor]:
    """circuit-tracer's pruning, in words: nodes, then edges of what is left, then loose ends."""
    n, first_token, first_logit = len(matrix.edges), matrix.n_features + matrix.n_errors, len(matrix.edges)
    first_logit -= len(matrix.weights)
    nodes = at_least(slow_influence(matrix.edges, matrix.all_weights), node_share)
    nodes[first_token:] = True
    left = matrix.edges * nodes * nodes[:, None]
    importance = slow_influence(left, matrix.all_weights) + matrix.all_weights
    edges = at_least((slow_shares(left) * importance[:, None]).flatten(), edge_share).view(n, n)
    changed = True
    while changed:
        changed = False
        for node in range(first_token):
            has_output, has_input = bool(edges[:, node].any()), bool(edges[node].any())
            if nodes[node] and not (has_output and (has_input or node >= matrix.n_features)):
                nodes[node] = edges[node] = edges[:, node] = False
                changed = True
    return nodes, edges


def at_least(scores: Tensor, share: float) -> Tensor:
    """The highest scores that together reach a share of the sum, with all that equal the last of them."""
    total = 0.0
    for score in sorted(scores.tolist(), reverse=True):
        total += score
        if total >= share * float(scores.sum()):
            return scores >= score
    raise AssertionError("the share lies above 1")


def slow_scores(matrix: Matrix) -> tuple[float, float]:
    influence, shares = slow_influence(matrix.edges, matrix.all_weights), slow_shares(matrix.edges)
    errors = range(matrix.n_features, matrix.n_features + matrix.n_errors)
    tokens = range(errors.stop, errors.stop + matrix.n_tokens)
    from_tokens, from_errors = (float(sum(influence[i] for i in span)) for span in (tokens, errors))
    importance = influence + matrix.all_weights
    good = [1 - float(sum(shares[node, i] for i in errors)) for node in range(len(matrix.edges))]
    complete = sum(float(importance[node]) * good[node] for node in range(len(good))) / float(importance.sum())
    return from_tokens / (from_tokens + from_errors), complete
