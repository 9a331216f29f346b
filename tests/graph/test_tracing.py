"""A whole trace: its books balance, its edges are what interventions measure, and bad input gets a sentence."""

import math

import pytest
import torch

from micrographia.bases.neurons import Neurons
from micrographia.bases.transcoder import PerLayer
from micrographia.errors import BudgetError, CallError, MicrographiaError, PromptError, WorkError
from micrographia.graph.adjoint import adjoint_of
from micrographia.graph.nodes import Kind
from micrographia.graph.select import Downward, Everything, PeerRanking, Reaching, Selection
from micrographia.graph.sweep import Sweeper
from micrographia.graph.targets import Tokens, resolve
from micrographia.graph.tracing import _worked, trace
from micrographia.graph.work import Work
from micrographia.ids import Layer
from micrographia.model.edits import Edit, at
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from micrographia.store import silent
from tests.graph.oracle import BASES, basis_for, prompt
from tests.model.test_frozen import pins

EXACT = 1e-9
MEASURED = 1e-8


@pytest.mark.parametrize("basis", BASES)
def test_the_books_balance_for_every_row_however_many_nodes_are_kept(model: Model, basis: str) -> None:
    for how in ({"max_nodes": 25}, {"share": 0.4}, {"selection": PeerRanking(12, 3, 2)}):
        found = trace(model, basis_for(basis, model), prompt(model), target=Tokens(positions=(4, -1)), **how)
        assert found.imbalance().abs().max() <= EXACT
        assert (found.folded_abs >= found.folded.abs() - EXACT).all()
        assert found.n_rows == found.nodes.n_features + found.nodes.n_targets
        assert (found.nodes.kind[found.row_node[: found.nodes.n_features]] == Kind.FEATURE).all()


def test_nothing_is_folded_when_everything_has_a_row(tiny) -> None:
    model = tiny("olmo2")
    found = trace(model, basis_for("cross-layer", model), prompt(model), selection=Everything())
    assert not found.folded_abs.any()
    assert found.nodes.n_features == found.facts.n_active
    exact = trace(model, Neurons(), prompt(model), selection=Everything())
    assert not exact.rows[:, exact.nodes.errors].any(), "neurons leave no error"


def pushed(model: Model, found, layer: int, delta: torch.Tensor) -> list[Edit]:
    """The real model with its nonlinear parts pinned and every MLP's output held, but for a push and skip paths."""
    clean = model.run(prompt(model), read=model.sites)
    edits = [edit for edit in pins(model, clean) if not str(edit.where.site).startswith(("gate", "up", "post"))]
    for one in found.layers:
        now: dict[str, torch.Tensor] = {}
        push = delta if one.layer == layer else torch.zeros_like(delta)

        def look(act, site, /, now=now):
            now["x"] = act
            return act

        def hold(act, site, /, one=one, now=now, push=push):
            moved = now["x"][0] - clean[f"mlp_in.{one.layer}"][0]
            skipped = 0 if one.skip is None else moved @ one.skip.T
            return clean[f"mlp_out.{one.layer}"] + (push + skipped)[None]

        edits += [at(f"mlp_in.{one.layer}").apply(look), at(f"mlp_out.{one.layer}").apply(hold)]
    return edits


@pytest.mark.parametrize("basis", ["neurons", "skip"])
def test_an_edge_is_what_doubling_the_source_does_to_everything(model: Model, basis: str) -> None:
    """The feature written once more, an error, a token: each moves every pre-activation and logit by the edge."""
    chosen = basis_for(basis, model)
    whole = trace(model, chosen, prompt(model), target=Tokens((3, 5)), selection=Everything())
    found = chosen.decompose(freeze(model, prompt(model)))
    n = whole.nodes.n_features
    source = int((whole.nodes.layer[:n] == 0).nonzero()[-5, 0])
    place = int(whole.nodes.position[source])
    written = torch.zeros_like(found.frozen.embed)
    first = found.layers[0]
    written[place] = first.activation[source] * first.write_vectors(Layer(0))[source]
    pushes = {source: (0, written)}
    if first.error is not None:
        error = torch.zeros_like(written)
        error[2] = found.layers[1].error[2]
        pushes[whole.nodes.find("error.1@2")] = (1, error)
    pushes[whole.nodes.find("token@1")] = (-1, torch.zeros_like(written))
    for column, (layer, delta) in pushes.items():
        edits = pushed(model, found, layer, delta)
        if layer < 0:
            token = torch.zeros_like(written)
            token[1] = found.frozen.embed[1]
            edits.append(at("embed").add(token[None]))
        run = model.run(prompt(model), read=["mlp_in", "final_norm_out"], edit=edits)
        clean = model.run(prompt(model), read=["mlp_in", "final_norm_out"])
        moved = [
            (one.read_vectors() * (run[f"mlp_in.{i}"] - clean[f"mlp_in.{i}"])[0][one.position]).sum(-1)
            for i, one in enumerate(found.layers)
        ]
        assert (torch.cat(moved) - whole.rows[:n, column]).abs().max() <= MEASURED
        slope = found.frozen.logit_slope
        logits = (run["final_norm_out"] - clean["final_norm_out"])[0, -1] @ model.weights.unembed.weight.T
        logits = logits if slope is None else logits * slope[-1]
        assert (logits[[3, 5]] - logits.mean() - whole.rows[n:, column]).abs().max() <= MEASURED
        assert column == source or (whole.rows[:, column] != 0).any()


def test_the_last_number_may_be_float32_or_bfloat16(tiny) -> None:
    model = tiny("llama")
    exact = trace(model, basis_for("skip", model), prompt(model), selection=Everything())
    for dtype in ("float32", "bfloat16"):
        rough = trace(model, basis_for("skip", model), prompt(model), selection=Everything(), dtype=dtype)
        assert rough.rows.dtype == torch.float32
        assert rough.facts.dtype == dtype
        assert float((rough.rows - exact.rows).norm() / exact.rows.norm()) < 1e-5


@pytest.mark.parametrize("rule", [Reaching(0.9), Downward(0.01), PeerRanking(30, 3, 2)], ids=lambda rule: rule.kind)
@pytest.mark.parametrize("basis", ["skip", "cross-layer", "neurons"])
def test_what_bfloat16_chose_has_the_rows_of_float32(tiny, basis: str, rule: Selection) -> None:
    model = tiny("llama")
    rough, single = (
        trace(model, basis_for(basis, model), prompt(model), selection=rule, dtype=dtype)
        for dtype in ("bfloat16", "float32")
    )
    places = {str(node): i for i, node in enumerate(single.nodes)}
    names = [str(node) for node in rough.nodes]
    shared = [name for name in names[: rough.nodes.n_features] if name in places]
    assert len(shared) > 0.8 * single.nodes.n_features
    ends = names[rough.nodes.n_features :]
    mine, its = (
        torch.tensor([at[name] for name in (*shared, *ends)]) for at in ({n: i for i, n in enumerate(names)}, places)
    )
    rows = torch.arange(len(shared) + rough.nodes.n_targets)
    at = [
        torch.cat([one[: len(shared)], n.n_features + rows[: n.n_targets]])
        for one, n in ((mine, rough.nodes), (its, single.nodes))
    ]
    a, b = rough.rows[at[0]][:, mine], single.rows[at[1]][:, its]
    assert ((a - b).abs().amax(1) / b.abs().amax(1)).max() <= 1e-6
    assert rough.imbalance().abs().max() <= 1e-4


def test_rows_kept_in_bfloat16_while_neurons_are_chosen_come_out_as_they_would_from_every_row(tiny) -> None:
    """In float32, neurons are ranked by rough columns; edges and folded sums are those of the whole matrix."""
    for family in ("gemma2", "neox"):
        model = tiny(family)
        whole = trace(model, Neurons(), prompt(model), selection=Everything(), dtype="float32")
        some = trace(model, Neurons(), prompt(model), max_nodes=60, dtype="float32")
        exact = trace(model, Neurons(), prompt(model), max_nodes=60)
        assert exact.facts.dtype == "float64"
        assert len({*map(str, some.nodes)} & {*map(str, exact.nodes)}) >= len(some.nodes) - 3
        n = whole.nodes.n_features
        names = {str(node): i for i, node in enumerate(whole.nodes)}
        columns = torch.tensor([names[str(node)] for node in some.nodes])
        kept = columns[: some.nodes.n_features]
        rows = torch.cat([kept, torch.arange(n, whole.n_rows)])
        size = whole.rows[rows].abs().amax(1)
        assert ((some.rows - whole.rows[rows][:, columns]).abs().amax(1) / size).max() <= 3e-6
        left = whole.rows[rows][:, :n].clone()
        left[:, kept] = 0
        place = whole.nodes.layer[:n] * whole.nodes.n_positions + whole.nodes.position[:n]
        signed, gross = (
            part.new_zeros(len(rows), some.folded[0].numel()).index_add_(1, place, part) for part in (left, left.abs())
        )
        assert ((some.folded.flatten(1) - signed).abs().amax(1) / size).max() <= 1e-5
        assert (some.folded_abs.flatten(1) - gross).abs().max() <= 1e-2 * gross.max()


def test_a_prompt_of_one_token_has_a_trace(tiny) -> None:
    model = tiny("gpt2")
    found = trace(model, Neurons(), model.tokenizer.from_ids([4]), max_nodes=5)
    assert found.imbalance().abs().max() <= EXACT
    assert found.nodes.n_positions == 1


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"target": "nowhere"}, PromptError, "tokens|no token"),
        ({"target": 80}, PromptError, "no token 80"),
        ({"target": Tokens(positions=9)}, CallError, "no position 9"),
        ({"target": Tokens(positions=())}, CallError, "no position chosen"),
        ({"against": "t5"}, CallError, "Against another token"),
        ({"dtype": "float16"}, CallError, "float16"),
        ({"share": 0.0}, CallError, "share"),
        ({"memory": 0}, CallError, "memory"),
        ({"memory": 10_000}, CallError, "frozen run alone"),
        ({"memory": 350_000, "max_nodes": None}, CallError, r"max_nodes=\d+ fits"),
    ],
)
def test_a_wrong_call_gets_a_sentence(tiny, how: dict, error: type[MicrographiaError], said: str) -> None:
    model = tiny("llama")
    with pytest.raises(error, match=said):
        trace(model, Neurons(), prompt(model), **how)


def test_a_basis_of_another_model_is_refused(tiny) -> None:
    other = basis_for("per-layer", tiny("llama"))
    wrong = PerLayer({Layer(layer + 1): one for layer, one in other.layers.items()})
    with pytest.raises(MicrographiaError, match="layer"):
        trace(tiny("llama"), wrong, prompt(tiny("llama")))


def test_numbers_that_are_not_finite_are_refused(tiny) -> None:
    model = tiny("llama")
    weight = model.weights.blocks[1].mlp.down.weight
    kept = float(weight[0, 0])
    with torch.no_grad():
        weight[0, 0] = math.nan
    try:
        with pytest.raises(WorkError, match="Layer 1 holds numbers that are not finite"):
            trace(model, Neurons(), prompt(model))
    finally:
        with torch.no_grad():
            weight[0, 0] = kept


def test_the_budget_that_is_refused_names_what_fits(tiny) -> None:
    model = tiny("llama")
    with pytest.raises(BudgetError, match="fits") as refused:
        trace(model, Neurons(), prompt(model), memory=350_000, max_nodes=None)
    fits = int(str(refused.value).split("max_nodes=")[1].split()[0])
    assert refused.value.fits == fits
    assert 0 < fits < 1080
    assert trace(model, Neurons(), prompt(model), memory=350_000, max_nodes=fits).facts.plan_bytes <= 350_000
    with pytest.raises(CallError):
        trace(model, Neurons(), prompt(model), memory=350_000, max_nodes=fits + 1)


def test_a_run_that_is_too_long_is_refused_before_it_begins(tiny) -> None:
    """The frozen patterns grow with the square of the prompt."""
    model = tiny("llama")
    calls: list[str] = []
    with (
        model.attached(readers={"embed": lambda act, site, /: calls.append(str(site))}),
        pytest.raises(CallError, match="frozen run alone"),
    ):
        trace(model, Neurons(), prompt(model, 40), memory=100_000)
    assert calls == []


@pytest.mark.parametrize("basis", ["per-layer", "skip", "cross-layer", "gaps"])
@pytest.mark.parametrize("rule", [Reaching(0.9, 60), Downward(0.002), PeerRanking(30, 5, 2)])
def test_short_of_memory_rows_only_rank_and_those_of_the_chosen_are_computed_anew(
    tiny, basis: str, rule: Selection
) -> None:
    model = tiny("llama")
    found = basis_for(basis, model).decompose(freeze(model, prompt(model)))
    targets = resolve(None, found, model.tokenizer)
    whole, short = (_worked(found, targets, rule, torch.float64, again, 10**9, silent) for again in (False, True))
    for name in ("kind", "layer", "position", "index"):
        assert torch.equal(getattr(short.nodes, name), getattr(whole.nodes, name)), "no choice here is a close one"
    for name in ("rows", "folded", "folded_abs", "pre"):
        assert (getattr(short, name) - getattr(whole, name)).abs().max() <= EXACT


def test_a_budget_that_rows_exceed_but_half_of_them_do_not_is_kept_in_two_passes(tiny) -> None:
    """On a longer prompt, where rows are longer than what is made of them."""
    model = tiny("llama")
    long = prompt(model, 60)
    chosen = basis_for("per-layer", model)
    whole = trace(model, chosen, long, max_nodes=200)
    plans = [trace(model, chosen, long, max_nodes=200, memory=whole.facts.plan_bytes - less) for less in (0, 1)]
    assert plans[0].facts.plan_bytes == whole.facts.plan_bytes
    assert plans[1].facts.plan_bytes < whole.facts.plan_bytes
    assert plans[1].imbalance().abs().max() <= EXACT


def test_rows_that_only_rank_are_given_back_before_the_result_is_made(tiny) -> None:
    """What is held at once in the second pass is one block's columns, not all rows'."""
    model = tiny("llama")
    found = basis_for("per-layer", model).decompose(freeze(model, prompt(model)))
    targets = resolve(None, found, model.tokenizer)
    sweeper = Sweeper(adjoint_of(found, torch.float64), block_size=8, overhead=0)
    chosen = [torch.arange(0, len(layer.feature), 2) for layer in found.layers]
    whole, early = (Work(found, targets, Everything(), sweeper) for _ in range(2))
    early.compute(chosen)
    assert early._book._held == 0
    whole._chosen = list(chosen)
    whole._target_rows()
    starts = whole._starts
    whole._feature_rows(torch.cat([some + start for some, start in zip(chosen, starts, strict=False)]))
    assert whole._book._held > 0
    one, other = whole.table(), early.table()
    for name in ("rows", "folded", "folded_abs"):
        assert (getattr(one, name) - getattr(other, name)).abs().max() <= EXACT
