"""Many interventions at once: each row is what the model says by itself, in every mode, on every family."""

import pytest
import torch

from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.interventions import (
    Change,
    Constrained,
    Direction,
    Error,
    Feature,
    Free,
    Head,
    Intervention,
    Iterative,
    Mode,
    Neuron,
    Step,
    Token,
    ablate,
)
from micrographia.evidence.placing import place
from micrographia.evidence.rows import run_rows
from micrographia.evidence.steering import prompt_edits
from micrographia.graph.select import Everything
from micrographia.graph.targets import Tokens
from micrographia.graph.tracing import trace
from micrographia.ids import Layer
from micrographia.model.edits import Edit, at
from micrographia.model.model import Model
from tests.graph.oracle import BASES, basis_for, prompt
from tests.graph.test_tracing import pushed

CLOSE = 1e-12
MEASURED = 1e-8


def bench_of(model: Model, basis: str = "per-layer", n: int = 9) -> Bench:
    return Bench(model, basis_for(basis, model), prompt(model, n))


def some_features(bench: Bench, layers: tuple[int, ...], seed: int = 0) -> list[Feature]:
    """One active feature of each layer, at random."""
    generator = torch.Generator().manual_seed(seed)
    found: list[Feature] = []
    for layer in layers:
        one = bench.found.layers[layer]
        i = int(torch.randint(len(one.feature), (1,), generator=generator))
        found.append(Feature(layer, int(one.feature[i]), int(one.position[i])))
    return found


def everything_of(bench: Bench, change: Change) -> list[Intervention]:
    """Parts of every kind, alone and together, at early and late positions."""
    last = bench.n_positions - 1
    vector = torch.arange(bench.model.anatomy.d_model, dtype=torch.float64) - 7.5
    covered = tuple(i for i in range(3) if len(bench.found.layers[i].feature))
    features = some_features(bench, covered)
    parts = [
        *features,
        Neuron(1, 7, 3),
        Head(1, 2, last),
        Head(0, 0, 4),
        Direction(1, 5, vector),
        Token(2),
        *([Error(covered[-1], 6)] if bench.found.layers[covered[-1]].error is not None else []),
    ]
    together = [Step(part, change) for part in parts]
    return [*(Intervention((step,)) for step in together), Intervention(tuple(together))]


# ---------------------------------------------------------------- batched and one by one


@pytest.mark.parametrize("basis", ["neurons", "skip", "cross-layer", "gaps"])
def test_a_batch_of_free_interventions_is_each_of_them_by_itself_through_the_model_room(
    model: Model, basis: str
) -> None:
    bench = bench_of(model, basis)
    rows = [
        place(bench, one, Free())
        for change in (Change("scale", 0.0), Change("scale", 2.5), Change("add", 0.7), Change("set", -0.4))
        for one in everything_of(bench, change)
    ]
    found = run_rows(bench, rows, Free()).logits
    for row, placed in zip(found, rows, strict=True):
        alone = model.run(bench.prompt, edit=list(prompt_edits(bench, placed))).logits[0, -1]
        assert (row - alone).abs().max() <= CLOSE, [str(shift.step) for shift in placed.shifts]
        if len(placed.shifts) > 1:
            assert (row - bench.logits()[-1]).abs().max() > 1e-3


@pytest.mark.parametrize("mode", [Free(), Iterative(), Constrained(), Constrained(1, 2), Constrained(frozen=True)])
def test_a_batch_is_what_batches_of_one_are_in_every_mode(tiny, mode: Mode) -> None:
    """With other prefixes: alone, a row begins at its own layer and position."""
    for case, basis in (("gemma2", "skip"), ("neox", "cross-layer"), ("gpt2", "neurons")):
        bench = bench_of(tiny(case), basis)
        features = some_features(bench, (1, 1, 2, 2), seed=3)
        rows = [place(bench, Intervention((Step(part, Change("scale", 3.0)),)), mode) for part in features]
        together = run_rows(bench, rows, mode, read=range(3))
        for number, row in enumerate(rows):
            alone = run_rows(bench, [row], mode, read=range(3))
            assert (alone.logits[0] - together.logits[number]).abs().max() <= CLOSE
            for layer, act in alone.read.items():
                same = together.read[layer][number, alone.start - together.start :]
                assert (act[0] - same).abs().max() <= CLOSE


def test_the_answer_at_an_earlier_position_needs_no_later_one(tiny) -> None:
    bench = bench_of(tiny("llama"))
    early = next(part for seed in range(9) for part in some_features(bench, (0,), seed) if part.position < 4)
    placed = place(bench, Intervention((Step(early, Change("scale", 0.0)),)), Free())
    for position in (6, -1, -3):
        alone = bench.model.run(bench.prompt, edit=list(prompt_edits(bench, placed))).logits[0, position]
        assert (run_rows(bench, [placed], Free(), position=position).logits[0] - alone).abs().max() <= CLOSE


def test_a_place_behind_the_answer_changes_nothing(tiny) -> None:
    bench = bench_of(tiny("llama"))
    rows = [
        place(bench, Intervention((Step(part, Change("scale", 0.0)),)), Free()) for part in (Head(1, 1, 8), Token(1))
    ]
    found = run_rows(bench, rows, Free(), position=3).logits
    assert (found[0] - bench.logits()[3]).abs().max() <= CLOSE
    assert (found[1] - bench.logits()[3]).abs().max() > 1e-3


# ---------------------------------------------------------------- clean values


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("mode", [Free(), Iterative(), Constrained(), Constrained(frozen=True)])
def test_clean_values_change_nothing(model: Model, basis: str, mode: Mode) -> None:
    """Every active feature of every layer put to the value that it has."""
    bench = bench_of(model, basis, 7)
    steps = [
        Step(Feature(one.layer, index, position), Change("scale", 1.0))
        for one in bench.found.layers
        for index, position in zip(one.feature.tolist(), one.position.tolist(), strict=True)
    ]
    placed = place(bench, Intervention(tuple(steps[:: max(1, len(steps) // 200)])), mode)
    assert (run_rows(bench, [placed], mode).logits[0] - bench.logits()[-1]).abs().max() <= CLOSE
    assert all(shift.clean == shift.new for shift in placed.shifts)


# ---------------------------------------------------------------- oracles


@pytest.mark.parametrize("basis", ["neurons", "skip", "cross-layer"])
def test_a_constrained_intervention_on_the_frozen_model_is_the_edge_of_the_graph(model: Model, basis: str) -> None:
    """All MLPs, patterns and norm scales held: a feature written once more moves what reads it by the edge."""
    bench = bench_of(model, basis)
    whole = trace(model, bench.basis, bench.prompt, target=Tokens((3, 5)), selection=Everything())
    n, mode = whole.nodes.n_features, Constrained(frozen=True)
    sources = [int((whole.nodes.layer[:n] == layer).nonzero()[-5, 0]) for layer in (0, 1)]
    if bench.found.layers[1].error is not None:
        sources.append(whole.nodes.find("error.1@2"))
    sources.append(whole.nodes.find("token@1"))
    rows = [place(bench, ablate([whole.nodes.id(source)], Change("scale", 2.0)), mode) for source in sources]
    found = run_rows(bench, rows, mode, read=range(3))
    assert whole.rows[n:, sources].abs().max() > 1e-4
    for number, column in enumerate(sources):
        moved: list[torch.Tensor] = []
        for i, one in enumerate(bench.found.layers):
            by = torch.zeros_like(bench.frozen.embed)
            if Layer(i) in found.read:
                by[found.start :] = found.read[Layer(i)][number] - bench.frozen.mlp_in(i)[found.start :]
            moved.append((one.read_vectors() * by[one.position]).sum(-1))
        assert (torch.cat(moved) - whole.rows[:n, column]).abs().max() <= MEASURED
        if model.anatomy.logit_cap is None:
            logits = found.logits[number] - bench.logits()[-1]
            assert (logits[[3, 5]] - logits.mean() - whole.rows[n:, column]).abs().max() <= MEASURED


@pytest.mark.parametrize("basis", ["neurons", "skip"])
def test_a_constrained_intervention_is_a_push_with_every_output_held(tiny, basis: str) -> None:
    """The oracle of the tracing tests, with patterns and norms left to themselves."""
    model = tiny("olmo2")
    bench = bench_of(model, basis)
    [part] = some_features(bench, (1,), seed=1)
    placed = place(bench, Intervention((Step(part, Change("add", 0.8)),)), Constrained())
    delta = torch.zeros_like(bench.frozen.embed)
    delta[part.position] = 0.8 * bench.write(1, [part.index], part.position, 1)[0]
    held = [edit for edit in pushed(model, bench.found, 1, delta) if str(edit.where.site).startswith("mlp_")]
    held = [edit for edit in held if "scale" not in str(edit.where.site)]
    alone = model.run(bench.prompt, edit=held).logits[0, -1]
    assert (run_rows(bench, [placed], Constrained()).logits[0] - alone).abs().max() <= CLOSE


def test_outside_the_range_that_is_held_the_model_runs_on(tiny) -> None:
    bench = bench_of(tiny("llama"))
    [part] = some_features(bench, (1,), seed=1)
    step = Intervention((Step(part, Change("scale", 0.0)),))
    held = run_rows(bench, [place(bench, step, Constrained(0, 1))], Constrained(0, 1)).logits
    free = run_rows(bench, [place(bench, step, Free())], Free()).logits
    whole = run_rows(bench, [place(bench, step, Constrained())], Constrained()).logits
    assert (held - free).abs().max() <= CLOSE, "one layer alone has no effect inside it"
    assert (whole - free).abs().max() > 1e-6


def replaced(bench: Bench, new: dict[tuple[int, int, int], float]) -> list[Edit]:
    """The replacement model written out: each layer's features read anew, some of them set, plus the clean error."""
    now: dict[int, torch.Tensor] = {}
    edits: list[Edit] = []
    for one in bench.found.layers:
        i = one.layer

        def look(act, site, /, i=i):
            encode = bench.encoder(i)
            now[i] = encode(act[0]) if encode else act.new_zeros(9, 0)
            for (layer, feature, position), value in new.items():
                if layer == i:
                    now[i][position, feature] = value
            now[-1] = act[0]
            return act

        def say(act, site, /, one=one, i=i):
            out = one.constant + one.error
            for source in bench.found.layers[: i + 1]:
                if i in source.writes:
                    out = out + now[source.layer] @ source.writes[i].rows
            return (out if one.skip is None else out + now[-1] @ one.skip.T)[None]

        edits += [at(f"mlp_in.{i}").apply(look), at(f"mlp_out.{i}").apply(say)]
    return edits


@pytest.mark.parametrize("basis", ["per-layer", "skip", "cross-layer", "gaps"])
def test_the_iterative_mode_is_the_replacement_model(model: Model, basis: str) -> None:
    bench = bench_of(model, basis)
    features = some_features(bench, (0, 2), seed=4)
    steps = tuple(Step(part, Change("set", 1.7)) for part in features)
    placed = place(bench, Intervention(steps), Iterative())
    new = {(part.layer, part.index, part.position): 1.7 for part in features}
    alone = model.run(bench.prompt, edit=replaced(bench, new)).logits[0, -1]
    found = run_rows(bench, [placed], Iterative()).logits[0]
    assert (found - alone).abs().max() <= 1e-10
    free = run_rows(bench, [place(bench, Intervention(steps), Free())], Free()).logits[0]
    assert (found - free).abs().max() > 1e-6


def test_in_neurons_the_iterative_mode_sets_neurons(tiny) -> None:
    bench = bench_of(tiny("gemma3"), "neurons")
    features = some_features(bench, (0, 1), seed=4)
    placed = place(bench, Intervention(tuple(Step(part, Change("set", 0.5)) for part in features)), Iterative())
    edits = [at(f"post.{one.layer}", neurons=[one.index], positions=[one.position]).set(0.5) for one in features]
    alone = bench.model.run(bench.prompt, edit=edits).logits[0, -1]
    assert (run_rows(bench, [placed], Iterative()).logits[0] - alone).abs().max() <= CLOSE


def test_a_head_gone_everywhere_is_a_head_whose_weights_are_zero(model: Model) -> None:
    bench = bench_of(model)
    steps = tuple(Step(Head(1, 2, position), Change("scale", 0.0)) for position in range(bench.n_positions))
    found = run_rows(bench, [place(bench, Intervention(steps), Free())], Free()).logits[0]
    d, weight = model.anatomy.d_head, model.weights.blocks[1].attn.o.weight
    kept = weight[:, 2 * d : 3 * d].clone()
    try:
        with torch.no_grad():
            weight[:, 2 * d : 3 * d] = 0
        without = model.run(bench.prompt).logits[0, -1]
    finally:
        with torch.no_grad():
            weight[:, 2 * d : 3 * d] = kept
    assert (found - without).abs().max() <= CLOSE
    assert (found - bench.logits()[-1]).abs().max() > 1e-6


def test_a_neuron_held_in_the_real_model_is_a_feature_of_the_neurons(model: Model) -> None:
    """Free or constrained: by itself, a neuron set is the MLP's output put there."""
    bench = bench_of(model, "neurons")
    responds = model.anatomy.post_norm  # the norm behind the MLP, to a neuron; a feature holds its scale
    for mode in (Constrained(),) if responds else (Free(), Constrained()):
        steps = [Intervention((Step(part(1, 5, 4), Change("set", 2.0)),)) for part in (Neuron, Feature)]
        one, other = run_rows(bench, [place(bench, step, mode) for step in steps], mode).logits
        assert (one - other).abs().max() <= CLOSE


def test_a_cross_layer_feature_counts_once(tiny) -> None:
    """Free: it is put in at its own layer; constrained: at every layer that it writes to."""
    bench = bench_of(tiny("llama"), "cross-layer")
    [part] = some_features(bench, (0,), seed=5)
    step = Intervention((Step(part, Change("add", 1.0)),))
    assert set(place(bench, step, Free()).written) == {(0, part.position)}
    assert set(place(bench, step, Constrained()).written) == {(layer, part.position) for layer in range(3)}
    assert set(place(bench, step, Constrained(0, 1)).written) == {(layer, part.position) for layer in (0, 1)}


def test_nothing_to_run_is_refused(tiny) -> None:
    with pytest.raises(CallError, match="no intervention"):
        run_rows(bench_of(tiny("llama")), [], Free())
