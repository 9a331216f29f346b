"""Codes keep order, bins keep to their edges, and sums of codes are exact."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from micrographia.atlas.strength import (
    AMOUNT_UNIT,
    N_BINS,
    SQUARE_UNIT,
    amounts,
    bin_edges,
    bins,
    codes,
    exponent_for,
    narrowed,
    squares,
    strengths,
    widened,
)

VALUES = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=40)


@given(values=VALUES, exponent=st.integers(-6, 6))
def test_codes_are_in_the_order_of_values_and_near_them(values: list[float], exponent: int) -> None:
    values = sorted(values)
    code = codes(torch.tensor(values), exponent)
    assert (np.diff(code.astype(int)) >= 0).all()
    again = strengths(code, exponent)
    assert np.allclose(again, values, rtol=2**-10, atol=2.0 ** (exponent - 24))
    assert codes(-torch.tensor(values), exponent).tolist() == code.tolist()


@given(values=VALUES)
def test_sums_of_codes_are_those_of_fractions(values: list[float]) -> None:
    code = codes(torch.tensor(values), 0)
    exact = [Fraction(float(value)) for value in strengths(code, 0)]
    assert Fraction(int(amounts(code).sum())) * Fraction(AMOUNT_UNIT) == sum(exact)
    wanted = sum(value * value for value in exact)
    slack = Fraction(SQUARE_UNIT) * len(values) / 2
    assert abs(Fraction(int(squares(code).sum())) * Fraction(SQUARE_UNIT) - wanted) <= slack


def test_a_square_is_cut_where_a_block_of_them_might_not_be_exact() -> None:
    assert squares(codes(torch.tensor([60000.0]), 0)).tolist() == [2**41]


@given(values=VALUES, exponent=st.integers(-3, 3))
def test_a_bin_holds_what_lies_between_its_edges(values: list[float], exponent: int) -> None:
    code, edges = codes(torch.tensor(values), exponent), bin_edges(exponent)
    for value, bin_ in zip(strengths(code, exponent), bins(code), strict=True):
        assert value >= edges[bin_] or bin_ == 0
        assert value < edges[bin_ + 1] or bin_ == N_BINS - 1
    assert np.allclose(edges[4:] / edges[:-4], 2)


@given(values=st.lists(st.floats(0.01, 100), min_size=1, max_size=20))
def test_eight_bits_keep_an_eighth_of_an_octave(values: list[float]) -> None:
    code = codes(torch.tensor(values), 0)
    again = widened(narrowed(code), 0)
    assert np.allclose(again, values, rtol=0.07)
    assert widened(np.zeros(3, np.uint8), 2).tolist() == [0, 0, 0]
    assert narrowed(np.array([1], np.uint16)).tolist() == [1]


@pytest.mark.parametrize(("values", "exponent"), [([0.9, 0.8, 1.0], 0), ([5.0], 3), ([], 0), ([-0.2, 0.3, 0.0], -2)])
def test_the_unit_lies_above_the_median(values: list[float], exponent: int) -> None:
    assert exponent_for(torch.tensor(values)) == exponent
