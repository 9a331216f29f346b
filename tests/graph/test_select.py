"""Who gets a row: the engine's choice is the one that can be read off the full matrix."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from micrographia.errors import CallError
from micrographia.graph.select import Downward, Everything, PeerRanking, reaching
from micrographia.graph.trace import Trace
from micrographia.graph.tracing import trace
from micrographia.model.model import Model
from tests.graph.oracle import basis_for, prompt


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(1, 100))
@settings(max_examples=50)
def test_the_smallest_set_that_reaches_a_share(values: list[int], percent: int) -> None:
    flow = torch.tensor(values, dtype=torch.float64)
    chosen = reaching(flow, percent / 100)
    total, kept = sum(values), sum(values[i] for i in chosen.tolist())
    assert all(values[i] > 0 for i in chosen.tolist())
    if not total:
        assert len(chosen) == 0
        return
    assert Fraction(kept, total) >= Fraction(percent, 100) - Fraction(1, 10**12)
    if len(chosen):
        without = kept - values[int(chosen[-1])]
        assert Fraction(without, total) < Fraction(percent, 100) + Fraction(1, 10**12)
    assert chosen.tolist() == sorted(range(len(values)), key=lambda i: (-values[i], i))[: len(chosen)]


def full(model: Model, basis: str) -> Trace:
    return trace(model, basis_for(basis, model), prompt(model), selection=Everything())


def by_hand(whole: Trace, rule: Downward) -> list[int]:
    """Layer by layer from the complete matrix, one source at a time: the features that get rows."""
    n, shares = whole.nodes.n_features, whole.rows.abs() / whole.complete_abs[:, None]
    weights = whole.weights
    kept: list[int] = []
    layers = range(whole.nodes.n_layers - 1, -1, -1)
    influence: dict[int, float] = {}
    for layer in layers:
        here = (whole.nodes.layer[:n] == layer).nonzero()[:, 0].tolist()
        for source in here:
            influence[source] = float(weights @ shares[n:, source])
            influence[source] += sum(influence[row] * float(shares[row, source]) for row in kept)
        total, running = sum(influence[source] for source in here), 0.0
        room = len(here) if rule.max_nodes is None else -(-(rule.max_nodes - len(kept)) // (layer + 1))
        for source in sorted(here, key=lambda source: (-influence[source], source))[:room]:
            if running >= rule.share * total or not influence[source]:
                break
            kept.append(source)
            running += influence[source]
    return sorted(kept)


@pytest.mark.parametrize("basis", ["neurons", "skip", "cross-layer", "gaps"])
@pytest.mark.parametrize("rule", [Downward(0.6), Downward(0.9, 25), Downward(0.3, 10), Downward(1.0, 0)], ids=str)
def test_layers_downwards_is_what_the_full_matrix_says(tiny, basis: str, rule: Downward) -> None:
    model = tiny("qwen3")
    whole = full(model, basis)
    some = trace(model, basis_for(basis, model), prompt(model), selection=rule)
    kept = by_hand(whole, rule)
    assert [str(some.nodes.id(i)) for i in range(some.nodes.n_features)] == [str(whole.nodes.id(i)) for i in kept]
    rows = torch.cat([torch.tensor(kept, dtype=torch.long), torch.arange(whole.nodes.n_features, whole.n_rows)])
    columns = torch.cat([torch.tensor(kept, dtype=torch.long), torch.arange(whole.nodes.n_features, len(whole.nodes))])
    assert (some.rows - whole.rows[rows][:, columns]).abs().max() <= 1e-12
    assert (some.complete_abs - whole.complete_abs[rows]).abs().max() <= 1e-11


def ranked_by_hand(whole: Trace, rule: PeerRanking) -> set[int]:
    """The same on the complete matrix, with influence by repeated multiplication."""
    n = whole.nodes.n_features
    usable = whole.nodes.position[:n] > 0
    errors = whole.rows[:, whole.nodes.errors].clone().unflatten(1, (whole.nodes.n_layers, -1))
    errors[:, :, 0] = 0
    parts = (whole.rows[:, :n] * usable, errors.flatten(1), whole.rows[:, whole.nodes.tokens])
    matrix = torch.cat(parts, 1).abs()
    matrix = matrix / matrix.sum(1, keepdim=True).clamp(min=1e-8)
    visited: list[int] = []
    while len(visited) < rule.max_nodes:
        reached = whole.weights @ matrix[n:]
        influence = reached.clone()
        while reached.any():
            passing: Tensor = torch.zeros(n, dtype=torch.float64)
            passing[visited] = reached[visited]
            reached = passing @ matrix[:n]
            influence += reached
        order = torch.argsort(influence[:n], descending=True, stable=True).tolist()
        fresh = [i for i in order if usable[i] and i not in visited]
        visited += fresh[: min(rule.batch_size * rule.update_interval, rule.max_nodes - len(visited))]
    return set(visited)


@pytest.mark.parametrize("basis", ["per-layer", "skip", "cross-layer"])
@pytest.mark.parametrize("rule", [PeerRanking(20, 2, 2), PeerRanking(30, 7, 1), PeerRanking(9, 50, 4)], ids=str)
def test_ranking_again_and_again_is_what_the_full_matrix_says(tiny, basis: str, rule: PeerRanking) -> None:
    model = tiny("llama")
    whole = full(model, basis)
    some = trace(model, basis_for(basis, model), prompt(model), selection=rule)
    wanted = {str(whole.nodes.id(i)) for i in ranked_by_hand(whole, rule)}
    assert {str(some.nodes.id(i)) for i in range(some.nodes.n_features)} == wanted
    assert some.imbalance().abs().max() <= 1e-9
    assert not some.rows[:, some.nodes.errors].unflatten(1, (some.nodes.n_layers, -1))[:, :, 0].any()


def test_a_wish_that_makes_no_sense_is_refused() -> None:
    for wrong in (lambda: Downward(0.0), lambda: Downward(1.1), lambda: Downward(0.5, -1), lambda: PeerRanking(5, 0)):
        with pytest.raises(CallError):
            wrong()
