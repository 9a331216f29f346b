"""Who gets a row: the engine's choice is the one that can be read off the full matrix."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from micrographia.errors import CallError
from micrographia.graph.select import Downward, Everything, PeerRanking, Reaching
from micrographia.graph.trace import Trace
from micrographia.graph.tracing import trace
from micrographia.model.model import Model
from tests.graph.oracle import basis_for, prompt


def full(model: Model, basis: str) -> Trace:
    return trace(model, basis_for(basis, model), prompt(model), selection=Everything())


def flow_through(whole: Trace, passes: Callable[[int, float], bool]) -> tuple[list[int], float]:
    """From the complete matrix, one source at a time from the highest layer: who passes flow on, and what is lost."""
    n, shares = whole.nodes.n_features, whole.rows.abs() / whole.complete_abs[:, None]
    flow = whole.weights @ shares[n:, :n]
    kept: list[int] = []
    for source in torch.argsort(whole.nodes.layer[:n], descending=True, stable=True).tolist():
        if passes(source, float(flow[source])):
            kept.append(source)
            flow = flow + flow[source] * shares[source, :n]
    return sorted(kept), float(flow.sum() - flow[kept].sum())


def above(whole: Trace, threshold: float) -> list[int]:
    return flow_through(whole, lambda _, flow: flow >= threshold)[0]


def lost(whole: Trace, kept: list[int]) -> float:
    return flow_through(whole, lambda source, _: source in kept)[1]


def assert_rows(some: Trace, whole: Trace, kept: list[int]) -> None:
    assert [str(some.nodes.id(i)) for i in range(some.nodes.n_features)] == [str(whole.nodes.id(i)) for i in kept]
    n = whole.nodes.n_features
    rows = torch.cat([torch.tensor(kept, dtype=torch.long), torch.arange(n, whole.n_rows)])
    columns = torch.cat([torch.tensor(kept, dtype=torch.long), torch.arange(n, len(whole.nodes))])
    assert (some.rows - whole.rows[rows][:, columns]).abs().max() <= 1e-12
    assert (some.complete_abs - whole.complete_abs[rows]).abs().max() <= 1e-11


@pytest.mark.parametrize("basis", ["skip", "cross-layer", "gaps"])
@pytest.mark.parametrize("threshold", [0.5, 0.02, 0.004])
def test_one_pass_downwards_is_what_the_full_matrix_says(tiny, basis: str, threshold: float) -> None:
    model = tiny("qwen3")
    whole = full(model, basis)
    some = trace(model, basis_for(basis, model), prompt(model), selection=Downward(threshold))
    assert_rows(some, whole, above(whole, threshold))


@pytest.mark.parametrize("basis", ["per-layer", "cross-layer", "gaps"])
@pytest.mark.parametrize("share", [0.8, 0.9, 0.97])
def test_what_is_lost_is_at_most_what_may_be_and_the_set_is_that_of_a_threshold(tiny, basis: str, share: float) -> None:
    model = tiny("llama")
    whole = full(model, basis)
    some = trace(model, basis_for(basis, model), prompt(model), selection=Reaching(share))
    n = some.nodes.n_features
    kept = [whole.nodes.find(some.nodes.id(i)) for i in range(n)]
    assert lost(whole, kept) <= 1 - share + 1e-9
    assert kept, "without any row more than that would be lost"
    assert lost(whole, []) > 1 - share
    sets = [above(whole, 0.5 ** (k / 2)) for k in range(40)]
    assert kept in sets
    assert_rows(some, whole, kept)
    step = sets.index(kept)
    assert lost(whole, sets[max(step - 3, 0)]) > 1 - share, "a threshold not much higher would not do"


def test_a_cap_takes_those_with_most_influence(tiny) -> None:
    model = tiny("mistral")
    basis = basis_for("skip", model)
    sizes = {n: trace(model, basis, prompt(model), selection=Reaching(1.0, n)) for n in (0, 1, 7, 40, 10**6)}
    assert [some.nodes.n_features for some in sizes.values()][:4] == [0, 1, 7, 40]
    whole = full(model, "skip")
    direct = whole.weights @ (whole.rows.abs() / whole.complete_abs[:, None])[whole.nodes.n_features :]
    assert whole.nodes.find(sizes[1].nodes.id(0)) == int(direct[: whole.nodes.n_features].argmax())
    names = {n: {str(some.nodes.id(i)) for i in range(some.nodes.n_features)} for n, some in sizes.items()}
    assert names[1] <= names[7] <= names[40] <= names[10**6]
    assert lost(whole, [whole.nodes.find(name) for name in names[10**6]]) <= 1e-9


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
    for wrong in (
        lambda: Downward(0.0),
        lambda: Reaching(1.1),
        lambda: Reaching(0.5, -1),
        lambda: PeerRanking(5, 0),
    ):
        with pytest.raises(CallError):
            wrong()
