"""Rows from the sweep are the rows that autograd finds, on every family and for every kind of basis."""

import pytest
import torch
from torch import Tensor

from micrographia.bases.basis import Decomposition
from micrographia.graph.adjoint import adjoint_of
from micrographia.graph.sweep import Readings, Sweeper, split
from micrographia.graph.work import readings_of
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from tests.graph.oracle import BASES, basis_for, jacobian, prompt

EXACT = 1e-9


def every_reading(found: Decomposition) -> tuple[Readings, Tensor]:
    """Of every active feature, and their own constants."""
    parts = [readings_of(found, i, torch.arange(len(layer.feature))) for i, layer in enumerate(found.layers)]
    stage = torch.cat([torch.full_like(layer.position, 2 * i + 1) for i, layer in enumerate(found.layers)])
    position = torch.cat([layer.position for layer in found.layers])
    vectors = torch.cat([vectors for vectors, _ in parts])
    n = len(stage)
    return Readings(torch.arange(n), stage, position, vectors, n), torch.cat([constant for _, constant in parts])


def swept(
    found: Decomposition, dtype: torch.dtype = torch.float64, given: Readings | None = None, **how: int
) -> Tensor:
    """[row, source]: all rows of all features, or of the readings given, sources as in the oracle."""
    every, constants = every_reading(found)
    readings, own = (every, constants) if given is None else (given, constants.new_zeros(given.n_rows))
    sweeper = Sweeper(adjoint_of(found, dtype), **how)
    book = sweeper.new_book()
    entry = sweeper.rows(readings, book)
    n, shape = readings.n_rows, (readings.n_rows, len(found.layers), len(found.frozen.embed))
    columns = [entry.tokens.new_zeros(n, len(layer.feature)) for layer in found.layers]
    errors = entry.tokens.new_zeros(shape)
    for layer, (features, there) in enumerate(zip(found.layers, book.columns, strict=True)):
        folded = there.fold(torch.arange(len(features.feature)), len(features.feature))
        columns[layer][folded.rows] = folded.kept.to(errors.dtype)
        if folded.errors is not None:
            errors[folded.rows, layer] = folded.errors.to(errors.dtype)
    parts = torch.cat([*columns, errors.flatten(1)], 1)
    totals = parts.abs().sum(1, dtype=torch.float64)
    assert ((entry.total - totals).abs() <= (1e-12 if dtype == torch.float64 else 1e-5) * (1 + totals)).all()
    rows = torch.cat([parts, entry.tokens, (entry.bias + own[entry.row].to(entry.bias.dtype))[:, None]], 1)
    return torch.empty_like(rows).index_copy_(0, entry.row, rows)


@pytest.mark.parametrize("basis", BASES)
def test_rows_are_those_of_autograd(model: Model, basis: str) -> None:
    found = basis_for(basis, model).decompose(freeze(model, prompt(model, 6 if basis in BASES[:2] else 8)))
    rows = swept(found, block_size=60, overhead=6)
    assert (rows - jacobian(found)[: len(rows)]).abs().max() <= EXACT
    activations = torch.cat([layer.activation for layer in found.layers])
    assert (rows.sum(1) - activations).abs().max() <= EXACT


def test_neither_blocks_nor_threads_change_anything_beyond_rounding(tiny) -> None:
    model = tiny("gemma2")
    found = basis_for("cross-layer", model).decompose(freeze(model, prompt(model)))
    once = swept(found)
    for how in ({"block_size": 1}, {"block_size": 7, "overhead": 0}, {"block_size": 10**6, "overhead": 10**6}):
        assert (swept(found, **how) - once).abs().max() <= 1e-13
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert (swept(found) - once).abs().max() <= 1e-13
    finally:
        torch.set_num_threads(before)


def test_bfloat16_is_good_for_ranking(tiny) -> None:
    model = tiny("llama")
    found = basis_for("per-layer", model).decompose(freeze(model, prompt(model)))
    exact, rough = swept(found), swept(found, torch.bfloat16)
    assert rough.dtype == torch.float32
    assert ((rough - exact).norm(dim=1) / exact.norm(dim=1)).max() < 0.02


def test_every_row_is_in_one_block_and_blocks_hold_near_positions() -> None:
    position = torch.tensor([0, 5, 2, 5, 1, 0, 9, 9, 9, 3])
    stage = torch.tensor([3, 1, 5, 7, 3, 5, 1, 9, 3, 1])
    blocks = split(stage, position, size=20, overhead=3)
    assert sorted(torch.cat(blocks).tolist()) == list(range(10))
    for rows in blocks:
        assert (stage[rows].diff() <= 0).all()
        last = int(position[rows].max())
        assert int((last - position[rows]).sum()) <= 3 + len(rows)
    assert len(split(stage, position, size=10**9, overhead=10**9)) == 1


def test_a_row_may_have_several_readings(tiny) -> None:
    """A span is the sum of its positions' rows."""
    model = tiny("neox")
    found = basis_for("per-layer", model).decompose(freeze(model, prompt(model)))
    readings, _ = every_reading(found)
    two = readings.of_rows(torch.tensor([3, len(readings) - 1]))
    alone = swept(found, given=two)
    joined = Readings(torch.zeros(2, dtype=torch.long), two.stage, two.position, two.vectors, 1)
    assert (swept(found, given=joined)[0] - alone.sum(0)).abs().max() <= EXACT
