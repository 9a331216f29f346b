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


def swept(found: Decomposition, dtype: torch.dtype = torch.float64, **how: int) -> Tensor:
    """[feature, source]: all rows of all features, sources as in the oracle."""
    readings, constants = every_reading(found)
    edges = Sweeper(adjoint_of(found, dtype), **how).rows(readings)
    columns = [
        edges.tokens.new_zeros(edges.n_rows, len(layer.feature)) if there is None else there
        for layer, there in zip(found.layers, edges.features, strict=True)
    ]
    rows = torch.cat([*columns, edges.errors.flatten(1), edges.tokens, edges.bias[:, None]], 1)
    rows[:, -1] += constants[edges.row].to(rows.dtype)
    return torch.empty_like(rows).index_copy_(0, edges.row, rows)


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
    rows = torch.tensor([3, len(readings) - 1])
    alone = Sweeper(adjoint_of(found, torch.float64)).rows(readings.of_rows(rows))
    two = readings.of_rows(rows)
    joined = Sweeper(adjoint_of(found, torch.float64)).rows(
        Readings(torch.zeros(2, dtype=torch.long), two.stage, two.position, two.vectors, 1)
    )
    assert (joined.tokens[0] - alone.tokens.sum(0)).abs().max() <= EXACT
    assert (joined.errors[0] - alone.errors.sum(0)).abs().max() <= EXACT
