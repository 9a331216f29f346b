"""Influence as a flow: against sums over paths, exact fractions, and thresholds found by sorting."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.errors import CallError
from micrographia.graph.flow import curve, influence, lowest, normalised, passed_up
from tests.graph.matrices import random_matrix, slow_influence, slow_shares

positive = st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=60)


def test_a_toy_graph_gives_exact_fractions() -> None:
    """Features a → b → c, an error, two tokens, and a target that reads c and the second token."""
    rows = torch.tensor(
        [
            [0, 0, 0, 0, 1, -3],
            [2, 0, 0, -1, 0, 1],
            [-1, 1, 0, 0, 2, 0],
            [0, 0, 3, 0, 0, 1],
        ],
        dtype=torch.float64,
    )
    found = influence(normalised(rows.abs()), torch.ones(1, dtype=torch.float64))
    c = Fraction(3, 4)
    b = c * Fraction(1, 4)
    a = c * Fraction(1, 4) + b * Fraction(1, 2)
    error = b * Fraction(1, 4)
    first = c * Fraction(1, 2) + a * Fraction(1, 4)
    second = Fraction(1, 4) + b * Fraction(1, 4) + a * Fraction(3, 4)
    assert found.tolist() == [float(each) for each in (a, b, c, error, first, second)]
    assert error + first + second == 1


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_influence_and_its_reverse_are_sums_over_paths(seed: int) -> None:
    m = random_matrix(seed)
    n, first_logit = m.n_features, len(m.edges) - len(m.weights)
    full = slow_shares(m.edges)
    shares = torch.cat([full[:n], full[first_logit:]])[:, :first_logit]
    expected = slow_influence(m.edges, m.all_weights)[:first_logit]
    torch.testing.assert_close(influence(shares, m.weights), expected, rtol=1e-10, atol=1e-12)
    ends = torch.rand(len(m.edges), dtype=torch.float64)
    ends[n:first_logit] = 0
    inverse = torch.linalg.inv(torch.eye(len(full), dtype=torch.float64) - full)
    rows = [*range(n), *range(first_logit, len(full))]
    torch.testing.assert_close(passed_up(shares, ends[rows], n), (inverse @ ends)[rows], rtol=1e-10, atol=1e-12)


def test_a_row_of_nothing_stays_nothing() -> None:
    assert normalised(torch.tensor([[0.0, 0.0], [1.0, 3.0]])).tolist() == [[0, 0], [0.25, 0.75]]


@given(positive, st.floats(0, 1))
def test_the_threshold_is_the_one_that_sorting_finds(scores: list[float], share: float) -> None:
    found = lowest(torch.tensor(scores, dtype=torch.float64), share)
    total, wanted, expected = 0.0, share * sum(scores), float("inf")
    for score in sorted(scores, reverse=True):
        if score > 0:
            total, expected = total + score, score
        if total >= wanted * (1 - 1e-12):
            break
    kept, needed = (sum(score for score in scores if score >= limit) for limit in (found, expected))
    assert found == expected or kept == pytest.approx(needed, rel=1e-9)


@given(positive, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_share_never_needs_a_higher_score(scores: list[float], a: float, b: float) -> None:
    values = torch.tensor(scores)
    assert lowest(values, max(a, b)) <= lowest(values, min(a, b))


def test_a_share_outside_0_to_1_is_refused() -> None:
    with pytest.raises(CallError, match="between 0 and 1, and this is nan"):
        lowest(torch.ones(3), float("nan"))


def test_nothing_has_no_threshold_that_anything_reaches() -> None:
    assert lowest(torch.zeros(4), 0.8) == float("inf")


def test_the_curve_is_what_a_node_and_all_above_it_hold() -> None:
    assert curve(torch.tensor([1.0, 5.0, 0.0, 2.0])).tolist() == [1.0, 0.625, 1.0, 0.875]
    assert curve(torch.zeros(2)).tolist() == [0, 0]
