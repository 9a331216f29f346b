"""Pruning: against its rules written out slowly, and its properties."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.errors import CallError
from micrographia.graph.prune import Pruning, complete_shares, complete_sums, prune
from micrographia.graph.trace import Trace
from tests.graph.traces import random_trace

shares = st.floats(0.05, 0.995)
seeds = st.integers(0, 10_000)


def edges_of(pruning: Pruning) -> set[tuple[int, int]]:
    return set(zip(pruning.target.tolist(), pruning.source.tolist(), strict=True))


def slow_prune(trace: Trace, node_share: float, edge_share: float) -> tuple[set[int], set[tuple[int, int]]]:
    """The module's head in words: dictionaries of numbers, paths one step at a time."""
    n = trace.nodes
    nodes = range(n.targets.start)
    share: dict[tuple[int, int], float] = {}
    for row in range(trace.n_rows):
        complete = float(trace.rows[row].abs().sum() + trace.folded[row].abs().sum())
        for s in nodes:
            size = abs(float(trace.rows[row, s]))
            share[row, s] = size / complete if complete else 0.0
    flow = {row: 0.0 for row in range(n.n_features)}
    flow |= {n.n_features + i: target.weight for i, target in enumerate(trace.targets)}
    for row in [*range(n.n_features, trace.n_rows), *reversed(range(n.n_features))]:
        for s in range(n.n_features):
            flow[s] += flow[row] * share[row, s]
    reached = {s: sum(flow[row] * share[row, s] for row in flow) for s in nodes}
    kept = set(fewest(reached, node_share)) | set(range(n.tokens.start, len(n)))
    scores = {(row, s): share[row, s] * flow[row] for row, s in share if share[row, s] > 0}
    row_node = trace.row_node.tolist()
    edges = {(row, s) for row, s in fewest(scores, edge_share) if s in kept and row_node[row] in kept}
    while loose := {
        s
        for s in kept
        if s < n.tokens.start
        and (
            s not in {source for _, source in edges}
            or (s < n.n_features and s not in {row for row, _ in edges if row < n.n_features})
        )
    }:
        kept -= loose
        edges = {(row, s) for row, s in edges if s in kept and row_node[row] in kept}
    return kept, edges


def fewest(scores: dict, share: float) -> list:
    """The keys with the highest scores that together reach a share of the sum."""
    total, taken = 0.0, []
    for key in sorted(scores, key=lambda each: -scores[each]):
        if total >= share * sum(scores.values()) or scores[key] == 0:
            break
        total += scores[key]
        taken.append(key)
    return taken


@settings(max_examples=25)
@given(seeds, shares, shares)
def test_nodes_and_edges_are_those_of_the_rules(seed: int, node_share: float, edge_share: float) -> None:
    trace = random_trace(seed)
    found = prune(trace, node_share, edge_share)
    nodes, edges = slow_prune(trace, node_share, edge_share)
    assert set(found.nodes.nonzero()[:, 0].tolist()) == nodes
    assert edges_of(found) == edges


@settings(max_examples=40)
@given(seeds, st.tuples(shares, shares), st.tuples(shares, shares))
def test_what_is_shown_stays_when_shares_are_raised(
    seed: int, nodes: tuple[float, float], edges: tuple[float, float]
) -> None:
    trace = random_trace(seed)
    less, more = prune(trace, min(nodes), min(edges)), prune(trace, max(nodes), max(edges))
    assert not bool((less.nodes & ~more.nodes).any())
    assert edges_of(less) <= edges_of(more)


@settings(max_examples=40)
@given(seeds, shares, shares)
def test_nothing_hangs_loose_and_tokens_bias_and_targets_stay(seed: int, node_share: float, edge_share: float) -> None:
    trace = random_trace(seed)
    n, found = trace.nodes, prune(trace, node_share, edge_share)
    assert bool(found.nodes[n.tokens.start :].all())
    features = set(found.nodes[n.features].nonzero()[:, 0].tolist())
    assert features == {row for row, _ in edges_of(found) if row < n.n_features}
    assert features == {source for _, source in edges_of(found) if source < n.n_features}
    ends = {int(trace.row_node[row]) for row, _ in edges_of(found)} | {source for _, source in edges_of(found)}
    assert all(bool(found.nodes[node]) for node in ends)


def test_everything_is_shown_when_everything_is_asked_for() -> None:
    trace = random_trace(2)
    found = prune(trace, 1.0, 1.0)
    flowing = found.importance > 0
    between = (trace.rows != 0) & flowing[:, None]
    assert found.between == found.candidates == int(between.sum())


@settings(max_examples=20)
@given(seeds, seeds)
def test_the_order_of_nodes_within_a_layer_changes_nothing(seed: int, shuffle: int) -> None:
    trace = random_trace(seed)
    n = trace.nodes
    mixed = torch.randperm(n.n_features, generator=torch.Generator().manual_seed(shuffle))
    mixed = mixed[n.layer[mixed].argsort(stable=True)]
    nodes = torch.cat([mixed, torch.arange(n.n_features, len(n))])
    rows = torch.cat([mixed, torch.arange(n.n_features, trace.n_rows)])
    table = replace(n, position=n.position[nodes], index=n.index[nodes], activation=n.activation[nodes])
    other = replace(
        trace,
        nodes=table,
        rows=trace.rows[rows][:, nodes],
        folded=trace.folded[rows],
        folded_abs=trace.folded_abs[rows],
        pre=trace.pre[rows],
    )
    found, again = prune(trace, 0.7, 0.9), prune(other, 0.7, 0.9)
    torch.testing.assert_close(again.influence, found.influence[nodes])
    assert edges_of(found) == {(int(rows[row]), int(nodes[source])) for row, source in edges_of(again)}


def test_what_a_row_lacks_to_1_has_no_node() -> None:
    trace = random_trace(6)
    folded = trace.folded.abs().sum((1, 2)) / complete_sums(trace)
    torch.testing.assert_close(complete_shares(trace).sum(1), 1 - folded)


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(CallError, match="A share lies between 0 and 1"):
        prune(random_trace(0), share)
    with pytest.raises(CallError, match="A share lies between 0 and 1"):
        prune(random_trace(0), 0.8, share)
