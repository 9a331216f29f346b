"""circuit-tracer's conventions, against its rules written out slowly; the real one is asked in tests/interop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.errors import CallError
from micrographia.graph.peer import PeerMatrix
from tests.graph.matrices import Matrix, random_matrix, slow_influence, slow_masks, slow_scores
from tests.graph.traces import random_trace

shares = st.floats(0.05, 0.995)


def peer(m: Matrix) -> PeerMatrix:
    return PeerMatrix.of_square(m.edges, m.n_features, m.n_errors, m.weights)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_influence_is_the_sum_over_all_paths(seed: int) -> None:
    m = random_matrix(seed)
    expected = slow_influence(m.edges, m.all_weights)[: -len(m.weights)]
    torch.testing.assert_close(peer(m).influence(), expected, rtol=1e-10, atol=1e-12)


@settings(max_examples=40)
@given(st.integers(0, 10_000), shares, shares)
def test_the_masks_are_those_of_the_rules(seed: int, node_share: float, edge_share: float) -> None:
    m = random_matrix(seed)
    found = peer(m).prune(node_share, edge_share)
    nodes, edges = slow_masks(m, node_share, edge_share)
    assert torch.equal(torch.cat([found.features, found.errors]), nodes[: m.n_features + m.n_errors])
    expected = PeerMatrix.of_square(edges.double(), m.n_features, m.n_errors, m.weights).rows > 0
    assert torch.equal(found.edges, expected)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_the_scores_are_those_of_the_rules(seed: int) -> None:
    m = random_matrix(seed)
    found = peer(m).scores()
    assert (found.replacement, found.completeness) == pytest.approx(slow_scores(m), abs=1e-12)


def test_a_share_of_1_keeps_all_that_has_influence() -> None:
    m = peer(random_matrix(5))
    assert torch.equal(m.prune(1.0, 1.0).features, m.influence()[: m.n_features] > 0)


def test_a_trace_is_seen_without_bias_position_0_and_what_has_no_row() -> None:
    trace = random_trace(1)
    n, m = trace.nodes, PeerMatrix.of_trace(trace)
    assert m.n_features == int((n.position[n.features] > 0).sum()) < n.n_features
    assert m.n_errors == n.n_layers * (n.n_positions - 1)
    assert m.rows.shape == (m.n_features + n.n_targets, m.n_features + m.n_errors + n.n_positions)
    torch.testing.assert_close(m.rows[:, -n.n_positions :][-n.n_targets :], trace.rows[-n.n_targets :, n.tokens])


def test_what_does_not_fit_is_refused() -> None:
    m = random_matrix(0)
    with pytest.raises(CallError, match="16 features and 1 logits are no 18 rows"):
        PeerMatrix(peer(m).rows, 16, 12, m.weights[:1])
    with pytest.raises(CallError, match="16 features and 40 errors do not fit 31 columns"):
        PeerMatrix(peer(m).rows, 16, 40, m.weights)
    with pytest.raises(CallError, match=r"A share lies between 0 and 1, and this is 1\.5"):
        peer(m).prune(1.5)
    m.edges[0, 5] = 1
    with pytest.raises(CallError, match="A feature's inputs must stand before it"):
        peer(m)
