"""Whether two results of the benchmark of attribution are the same: features, edges, and what pruning keeps."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

__all__ = ["Agreement", "Result", "agreement", "our_result", "their_result"]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Rows of features and targets; columns of features, errors behind position 0, and tokens."""

    features: Tensor
    """[feature 3]: layer, position, index."""
    rows: Tensor
    nodes: Tensor
    """What pruning keeps of features and errors."""
    edges: Tensor


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two results are the same."""

    features: int
    shared: int
    """Features that both have; edges and masks are compared between these."""
    largest: float
    """The largest difference of an edge, by the largest edge of its row."""
    typical: float
    """The median over rows of the length of the difference, by the length of the row."""
    nodes_apart: int
    """Nodes that one side's pruning keeps and the other's does not."""
    edges_apart: int
    edges: int
    """Edges that pruning keeps."""


def our_result(path: Path) -> Result:
    found = load_file(path)
    return Result(found["features"], found["rows"], found["nodes"], found["edges"])


def their_result(path: Path) -> Result:
    """circuit-tracer's square matrix: features, errors, tokens, logits."""
    found = load_file(path)
    n, n_logits, n_tokens = len(found["selected"]), len(found["logit_tokens"]), len(found["tokens"])
    n_nodes = len(found["node_mask"])
    first_token, first_logit = n_nodes - n_logits - n_tokens, n_nodes - n_logits
    errors = torch.arange(n, first_token)
    inner = torch.cat([torch.arange(n), errors[(errors - n) % n_tokens > 0]])
    columns = torch.cat([inner, torch.arange(first_token, first_logit)])
    rows = torch.cat([torch.arange(n), torch.arange(first_logit, n_nodes)])
    return Result(
        found["active"][found["selected"]],
        found["adjacency"][rows][:, columns],
        found["node_mask"][inner],
        found["edge_mask"][rows][:, columns],
    )


def agreement(one: Result, other: Result) -> Agreement:
    """Compare what both have."""
    places = {tuple(feature): i for i, feature in enumerate(other.features.tolist())}
    pairs = [(i, places[f]) for i, f in enumerate(map(tuple, one.features.tolist())) if f in places]
    mine, its = (torch.tensor(side, dtype=torch.long) for side in zip(*pairs, strict=True))
    a, b = _among(one, mine), _among(other, its)
    size, length = a.rows.abs().amax(1), a.rows.norm(dim=1)
    apart = (a.rows - b.rows).abs_()
    return Agreement(
        features=max(len(one.features), len(other.features)),
        shared=len(pairs),
        largest=float((apart.amax(1) / size).max()),
        typical=float((apart.norm(dim=1) / length).median()),
        nodes_apart=int((a.nodes != b.nodes).sum()),
        edges_apart=int((a.edges != b.edges).sum()),
        edges=int(one.edges.sum()),
    )


def _among(result: Result, features: Tensor) -> Result:
    n = len(result.features)
    rows = torch.cat([features, torch.arange(n, len(result.rows))])
    columns = torch.cat([features, torch.arange(n, result.rows.shape[1])])
    kept = torch.cat([features, torch.arange(n, len(result.nodes))])
    return Result(
        result.features[features], result.rows[rows][:, columns], result.nodes[kept], result.edges[rows][:, columns]
    )
