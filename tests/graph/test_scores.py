"""Scores: against random walks summed path by path, and at their ends."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.graph.peer import PeerMatrix
from micrographia.graph.prune import prune
from micrographia.graph.scores import score
from micrographia.graph.trace import Trace
from tests.graph.traces import random_trace


def paths(shares: torch.Tensor, trace: Trace) -> list[tuple[int, float, list[int]]]:
    """Every way from a target down to something that has no row: (end, weight, features passed)."""
    n = trace.nodes

    def walk(row: int, weight: float, passed: list[int]) -> list[tuple[int, float, list[int]]]:
        found = []
        for source in shares[row].nonzero()[:, 0].tolist():
            carried = weight * float(shares[row, source])
            if source < n.n_features:
                found += walk(source, carried, [*passed, source])
            else:
                found.append((source, carried, passed))
        return found

    return [each for i, target in enumerate(trace.targets) for each in walk(n.n_features + i, target.weight, [])]


@settings(max_examples=8)
@given(st.integers(0, 1000), st.booleans())
def test_scores_and_path_length_are_those_of_all_paths(seed: int, capped: bool) -> None:
    trace = random_trace(seed, n_layers=3, per_layer=3, capped=capped)
    n, honest = trace.nodes, trace.honest().abs()
    shares = honest / honest.sum(1, keepdim=True).clamp(min=1e-300)
    walks = paths(shares, trace)
    tokens = sum(w for end, w, _ in walks if n.tokens.start <= end < n.tokens.stop)
    errors = sum(w for end, w, _ in walks if n.errors.start <= end < n.errors.stop)
    hops = sum(w * len(passed) for end, w, passed in walks if n.tokens.start <= end < n.tokens.stop)
    found = score(trace, prune(trace))
    assert found.trace.replacement == pytest.approx(tokens / (tokens + errors))
    assert found.path_length == pytest.approx(hops / tokens)
    # Each visit of a row weighs its share of errors once.
    visits = sum(w for _, w in visited(shares, trace))
    missed = sum(w * float(shares[row, n.errors].sum()) for row, w in visited(shares, trace))
    assert found.trace.completeness == pytest.approx(1 - missed / visits)


def visited(shares: torch.Tensor, trace: Trace) -> list[tuple[int, float]]:
    """Every row on every way, with the weight that comes to it."""
    n = trace.nodes
    found = [(n.n_features + i, target.weight) for i, target in enumerate(trace.targets)]
    for row, weight in found:
        found += [
            (source, weight * float(shares[row, source]))
            for source in range(n.n_features)
            if float(shares[row, source]) > 0
        ]
    return found


def test_a_trace_without_errors_and_folds_explains_everything() -> None:
    trace = random_trace(1, capped=False)
    rows = trace.rows.clone()
    rows[:, trace.nodes.errors] = 0
    rows[:, trace.nodes.tokens.start] += 0.01  # so that no feature is without inputs
    exact = replace(trace, rows=rows, pre=rows.sum(1))
    found = score(exact, prune(exact, 1.0, 1.0))
    assert (found.trace.replacement, found.trace.completeness) == (1, 1)
    assert found.shown.replacement == pytest.approx(1)
    assert found.peer.completeness == 1


def test_a_graph_that_shows_everything_scores_as_its_trace() -> None:
    trace = random_trace(3)
    found = score(trace, prune(trace, 1.0, 1.0))
    assert found.shown.replacement == pytest.approx(found.trace.replacement)
    assert found.shown.completeness == pytest.approx(found.trace.completeness)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_pruning_away_everything_explains_nothing(seed: int) -> None:
    trace = random_trace(seed)
    found = score(trace, prune(trace, 0.0, 0.0))
    assert found.shown.replacement <= found.trace.replacement
    assert found.shown.completeness < found.trace.completeness


def test_the_peers_reading_leaves_out_what_was_folded_and_so_flatters() -> None:
    trace = random_trace(5)
    heavy = replace(trace, folded=50 * trace.folded, folded_abs=50 * trace.folded_abs)
    light, loaded = score(trace, prune(trace)), score(heavy, prune(heavy))
    assert loaded.peer == light.peer
    assert loaded.trace.completeness < light.trace.completeness
    peer = PeerMatrix.of_trace(trace).scores()
    assert (light.peer.replacement, light.peer.completeness) == (peer.replacement, peer.completeness)
