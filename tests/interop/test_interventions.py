"""What circuit-tracer 0.5.0 says under an intervention is what is said here, where both mean the same by it.

Its `feature_intervention` knows two modes. *With layers held* it adds (new − clean) · decoder to clean MLP outputs in a
range, patterns pinned everywhere, and norm scales pinned if the range is all layers: then that is `Constrained` with
`frozen`. *Else* it lets the real MLPs run and adds (new − what the feature is by now) · decoder to what they say: that
is `Free`, with attention free, as long as no touched place feeds another one. Where it is not, `by_definition` does in
our model what it does in its own, and a test says what is different. It runs in float32, we in float64.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from micrographia.evidence.bench import Bench
from micrographia.evidence.interventions import Change, Constrained, Feature, Free, Intervention, Iterative, Mode, Step
from micrographia.evidence.placing import place
from micrographia.evidence.rows import run_rows
from micrographia.model.edits import Edit, at
from micrographia.model.load import load_model
from micrographia.model.site import Point, Site
from tests.interop.environments import run_peer
from tests.interop.test_attribution import BASES, IDS, basis_in, prepare

CROSS = [name for name in BASES if name.startswith("cross")]
PER_LAYER = [name for name in BASES if name not in CROSS]
CLOSE = 1e-4
APART = 100 * CLOSE
WORDS = " ".join("<s>" if token == 0 else f"t{token}" for token in IDS)
LAST = len(IDS) - 1


@dataclass(frozen=True)
class Case:
    """One call of `feature_intervention`."""

    parts: tuple[Feature, ...]
    values: tuple[float, ...]
    held: tuple[int, int] | None = None
    """The layers from the first on and before the second."""
    freeze_attention: bool = False

    @property
    def intervention(self) -> Intervention:
        return Intervention(
            tuple(Step(part, Change("set", value)) for part, value in zip(self.parts, self.values, strict=True))
        )

    def asked(self) -> dict[str, object]:
        changes = [(p.layer, p.position, p.index, v) for p, v in zip(self.parts, self.values, strict=True)]
        return {"changes": changes, "held": self.held, "freeze_attention": self.freeze_attention}


def cases(bench: Bench) -> dict[str, Case]:
    """Features are put out, made twice as strong, and switched on where they are silent, at several positions."""
    spread, values = zip(*[one for layer in range(3) for one in changes(bench, layer)], strict=True)
    top, at_top = zip(*changes(bench, 2), strict=True)
    low, at_low = zip(*changes(bench, 0), strict=True)
    return {
        "all held": Case(spread, values, (0, 3)),
        "some held": Case(low, at_low, (0, 2)),
        "free, last layer": Case(top, at_top),
        "free, first layer": Case(low, at_low),
        "free, all layers": Case(spread, values),
        "free, patterns pinned": Case(low, at_low, freeze_attention=True),
        "first position": Case((Feature(1, 3, 0),), (2.0,)),
    }


def changes(bench: Bench, layer: int) -> list[tuple[Feature, float]]:
    """One active feature off, another doubled, a silent one on."""
    found: list[tuple[Feature, float]] = []
    for position, factor in ((2, 0.0), (4, 2.0)):
        active = bench.active(layer)[position]
        index = int(active.argmax())
        found.append((Feature(layer, index, position), factor * float(active[index])))
    silent = (bench.active(layer)[LAST] == 0).nonzero()[:, 0]
    return [*found, (Feature(layer, int(silent[0]), LAST), 1.5)]


@dataclass(frozen=True)
class Peer:
    """One basis, and what circuit-tracer made of its cases."""

    bench: Bench
    cases: dict[str, Case]
    logits: dict[str, Tensor]

    def ours(self, name: str, mode: Mode) -> Tensor:
        """The logits at every position."""
        placed = place(self.bench, self.cases[name].intervention, mode)
        rows = [run_rows(self.bench, [placed], mode, position=i).logits[0] for i in range(LAST + 1)]
        return torch.stack(rows)

    def apart(self, name: str, ours: Tensor) -> float:
        """Over the largest logit where that is above 1: with norms pinned, random skip paths make hundreds of it."""
        theirs = self.logits[name].double()
        assert theirs.shape == ours.shape
        return float((theirs - ours).abs().max() / theirs.abs().max().clamp_min(1.0))


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Peer]:
    """All cases of every basis, done by circuit-tracer in one go."""
    work = tmp_path_factory.mktemp("interventions")
    prepare(work)
    model = load_model(str(work / "model"), dtype="float64", device="cpu")
    benches = {name: Bench(model, basis_in(work, name), model.tokenizer.from_ids(IDS)) for name in BASES}
    for name, bench in benches.items():
        job = {
            "model": str(work / "version-4"),
            "basis": str(work / "bases" / name),
            "text": WORDS,
            "interventions": {each: case.asked() for each, case in cases(bench).items()},
        }
        (work / "ours" / name).mkdir(parents=True)
        (work / "ours" / name / "job.json").write_text(json.dumps(job))
    run_peer("attribution", work)

    @cache
    def found(name: str) -> Peer:
        return Peer(benches[name], cases(benches[name]), answers(work / "ours" / name))

    return found


def answers(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "logits.safetensors")


@pytest.fixture(params=BASES)
def each(request: pytest.FixtureRequest, peer: Callable[[str], Peer]) -> Peer:
    return peer(request.param)


@pytest.fixture(params=CROSS)
def crossing(request: pytest.FixtureRequest, peer: Callable[[str], Peer]) -> Peer:
    return peer(request.param)


@pytest.fixture(params=PER_LAYER)
def plain(request: pytest.FixtureRequest, peer: Callable[[str], Peer]) -> Peer:
    return peer(request.param)


# ---------------------------------------------------------------- its definition, in our model


def by_definition(bench: Bench, case: Case) -> Tensor:
    """What `feature_intervention` is said to do, done by hooks on one plain run."""
    n_layers, held = bench.n_layers, range(*(case.held or (0, 0)))
    edits: list[Edit] = []
    if case.held or case.freeze_attention:
        edits += [at(f"pattern.{i}").set(bench.pattern(i)[None]) for i in range(n_layers)]
    running = _Running(bench, case, held)
    for layer in range(n_layers):
        edits.append(at(f"mlp_in.{layer}").apply(partial(running.look, layer)))
        edits.append(at(f"mlp_out.{layer}").apply(partial(running.add, layer)))
    return bench.model.run(bench.prompt, edit=edits).logits[0]


class _Running:
    """Deltas are worked out layer by layer, from what features are by then; where layers are held, from clean ones."""

    def __init__(self, bench: Bench, case: Case, held: range) -> None:
        self.bench, self.case, self.held = bench, case, held
        self.deltas = bench.frozen.embed.new_zeros(bench.n_layers, bench.n_positions, bench.model.anatomy.d_model)
        self.x = bench.frozen.embed

    def look(self, layer: int, act: Tensor, site: Site, /) -> Tensor:
        self.x = act[0]
        return act

    def add(self, layer: int, act: Tensor, site: Site, /) -> Tensor:
        encode, bench = self.bench.encoder(layer), self.bench
        assert encode is not None
        now = bench.active(layer).clone() if self.held else encode(self.x)
        now[0] = 0.0  # at the first position it takes every feature to be silent
        for part, value in zip(self.case.parts, self.case.values, strict=True):
            if part.layer == layer:
                for to in bench.written_to(layer):
                    wrote = bench.write(layer, [part.index], part.position, to)[0]
                    self.deltas[to, part.position] += (value - now[part.position, part.index]) * wrote
        if not self.held:
            return act + self.deltas[layer]
        if layer not in self.held:
            return act
        clean, skip = bench.clean(Point.MLP_OUT, layer), bench.found.layers[layer].skip
        moved = 0.0 if skip is None else (self.x - bench.clean(Point.MLP_IN, layer)) @ skip.T
        return (clean + moved + self.deltas[layer])[None]


def test_its_definition_is_what_it_does(each: Peer) -> None:
    """In every case but where norm scales are pinned, too, which the hooks above do not do."""
    for name, case in each.cases.items():
        if name != "all held":
            assert each.apart(name, by_definition(each.bench, case)) <= CLOSE, name


# ---------------------------------------------------------------- the same


def test_with_all_layers_held_the_logits_are_those_of_the_frozen_constrained_mode(each: Peer) -> None:
    assert each.apart("all held", each.ours("all held", Constrained(frozen=True))) <= CLOSE
    assert each.apart("all held", each.bench.logits()) > APART, "the change is large enough to be seen"


def test_free_the_logits_are_those_of_the_free_mode(each: Peer) -> None:
    """Features of the last layer write there and nowhere else, in every basis."""
    assert each.apart("free, last layer", each.ours("free, last layer", Free())) <= CLOSE
    assert each.apart("free, last layer", each.bench.logits()) > APART


def test_free_in_a_low_layer_too_where_features_write_to_their_own(plain: Peer) -> None:
    assert plain.apart("free, first layer", plain.ours("free, first layer", Free())) <= CLOSE
    assert plain.apart("free, first layer", plain.bench.logits()) > APART


# ---------------------------------------------------------------- what differs by definition, and why


def test_of_cross_layer_features_free_it_adds_every_decoder_to_mlps_that_answer_as_well(crossing: Peer) -> None:
    """Our free mode puts a feature in at its own layer only. The higher decoders are all of the difference."""
    name = "free, first layer"
    ours = crossing.ours(name, Free())
    assert crossing.apart(name, ours) > APART
    bench, case = crossing.bench, crossing.cases[name]
    placed = place(bench, case.intervention, Free())
    edits = [at(f"mlp_out.{layer}", positions=[p]).add(vector) for (layer, p), vector in placed.written.items()]
    assert torch.allclose(bench.model.run(bench.prompt, edit=edits).logits[0], ours, atol=1e-10)
    for part, value in zip(case.parts, case.values, strict=True):
        by = value - float(bench.active(0)[part.position, part.index])
        for to in bench.written_to(0)[1:]:
            vector = by * bench.write(0, [part.index], part.position, to)[0]
            edits.append(at(f"mlp_out.{to}", positions=[part.position]).add(vector))
    assert crossing.apart(name, bench.model.run(bench.prompt, edit=edits).logits[0]) <= CLOSE


def test_at_places_that_feed_each_other_it_keeps_what_the_rest_of_the_mlp_answers(each: Peer) -> None:
    """It sets the feature against what it is by then and leaves the other features of that MLP; our free mode holds
    them. So either gives the feature its new value, and the rest of the touched MLP differs."""
    name = "free, all layers"
    assert each.apart(name, each.ours(name, Free())) > APART
    assert each.apart(name, by_definition(each.bench, each.cases[name])) <= CLOSE


def test_a_part_of_the_layers_held_it_pins_patterns_without_norms(each: Peer) -> None:
    """Ours either lets both answer or pins both."""
    case = each.cases["some held"]
    free, pinned = (each.ours("some held", Constrained(0, 1, frozen=frozen)) for frozen in (False, True))
    assert min(each.apart("some held", free), each.apart("some held", pinned)) > CLOSE
    assert each.apart("some held", by_definition(each.bench, case)) <= CLOSE


def test_its_iterative_patching_runs_the_real_mlps_and_ours_the_replacement_model(each: Peer) -> None:
    """What the real MLP answers is its features, read anew, and an error, read anew, too: ours keeps the clean one."""
    name = "free, first layer"
    assert each.apart(name, each.ours(name, Iterative())) > APART


def test_at_the_first_position_it_takes_a_feature_to_be_silent(plain: Peer) -> None:
    """So a set value is added whole: here that is `=+2`, and `=2` only where the feature is silent anyway."""
    bench, [part] = plain.bench, plain.cases["first position"].parts
    adding = Intervention((Step(part, Change("add", 2.0)),))
    rows = [run_rows(bench, [place(bench, adding, Free())], Free(), position=i).logits[0] for i in range(LAST + 1)]
    assert plain.apart("first position", torch.stack(rows)) <= CLOSE
