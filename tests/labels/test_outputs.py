"""What a feature does to its words is what whole runs of the model say."""

from pathlib import Path

import numpy as np
import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.build import build_atlas
from micrographia.atlas.discoveries import beyond
from micrographia.atlas.plan import AtlasConfig
from micrographia.bases.neurons import Neurons
from micrographia.calibration.planted import ROLES, WINDOW, Slide
from micrographia.corpus.corpus import Corpus
from micrographia.ids import Layer
from micrographia.labels.build import LabelConfig, _Work
from micrographia.labels.halves import Halves
from micrographia.labels.judging import Judged
from micrographia.labels.outputs import Causal, _places, far_beyond
from micrographia.model.edits import at
from micrographia.model.model import Model

CONFIG = LabelConfig(fit=2000, held=5000, windows=100, random=200)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("outputs")
    slide = Slide.of(dict.fromkeys(ROLES, 8) | {"sum": 24})
    corpus = slide.corpus(folder, 250)
    choices = AtlasConfig(tokens=20_000, window=WINDOW, block=64)
    build_atlas(slide.model, slide.basis, corpus, folder / "atlas", config=choices)
    atlas = Atlas.open(folder / "atlas")
    stage = _Work(slide.model, slide.basis, atlas, Halves(atlas.text, 0), CONFIG).begin([Layer(0)], lambda *_: None)
    return slide, stage, stage.layer(Layer(0), stage.watches[Layer(0)])


def test_effects_are_those_of_whole_runs(found) -> None:
    slide, stage, judged = found
    crowd, causal, model = judged.crowd, judged.causal, slide.model
    tried = causal.n > 0
    assert tried[: crowd.n_features].sum() >= 4
    chance = np.random.default_rng([CONFIG.seed, 1, 2])
    who, row, strength = _places(crowd, judged.exam, stage.walk, tried[: crowd.n_features], CONFIG.places, chance)
    unembed = model.weights.unembed.weight
    for one in np.flatnonzero(tried[: crowd.n_features])[:4].tolist():
        tokens, moved = judged.outputs.tokens[one].tolist(), {1.0: [], -1.0: []}
        for job in np.flatnonzero(who == one).tolist():
            window, position = divmod(int(row[job]), stage.walk.reading.per_window)
            prompt = model.tokenizer.from_ids(stage.walk.reading.ids[window].tolist())
            clean = model.run(prompt).logits[0, position + 1]
            for sign, into in moved.items():
                step = sign * float(strength[job]) * crowd.writes[one]
                run = model.run(prompt, edit=at("resid_post.0", positions=[position + 1]).add(step))
                change = run.logits[0, position + 1] - clean
                into.append(float(change[tokens].mean() - change.mean()))
        assert unembed.shape[0] == len(clean)
        assert causal.boosted[one] == pytest.approx(np.mean(moved[1.0]), abs=1e-4)
        assert causal.ablated[one] == pytest.approx(np.mean(moved[-1.0]), abs=1e-4)


def test_a_neuron_below_zero_is_taken_out_as_whole_runs_take_it_out(
    llama: Model, corpus: Corpus, tmp_path: Path
) -> None:
    basis, layer = Neurons(), Layer(1)
    choices = AtlasConfig(tokens=2700, window=16, block=16)
    build_atlas(llama, basis, corpus, tmp_path / "atlas", config=choices)
    atlas = Atlas.open(tmp_path / "atlas")
    stage = _Work(llama, basis, atlas, Halves(atlas.text, 0), CONFIG).begin([layer], lambda *_: None)
    found = stage.layer(layer, stage.watches[layer])
    n, exam, walk = found.crowd.n_features, found.exam, stage.walk
    tried = np.ones(n, dtype=bool)
    causal = Causal.of(found.crowd, found.outputs, exam, walk, stage.effects, tried, 3, 0)
    who, row, activation = _places(found.crowd, exam, walk, tried, 3, np.random.default_rng([0, walk.layer, 2]))
    assert 0.2 < (activation < 0).mean() < 0.8
    assert (activation[who >= n] < 0).any()
    for one in np.flatnonzero(causal.n[:n])[:6].tolist():
        tokens, moved = found.outputs.tokens[one].tolist(), list[float]()
        for job in np.flatnonzero(who == one).tolist():
            window, position = divmod(int(row[job]), walk.reading.per_window)
            prompt = llama.tokenizer.from_ids(walk.reading.ids[window].tolist())
            run = llama.run(prompt, read=f"post.{layer}")
            value = run[f"post.{layer}"][0, position + 1, one]
            assert float(value) == pytest.approx(activation[job], rel=0.01)
            written = -value * found.crowd.writes[one].to(value.dtype)
            out = llama.run(prompt, edit=at(f"resid_post.{layer}", positions=[position + 1]).add(written))
            change = out.logits[0, position + 1] - run.logits[0, position + 1]
            moved.append(float(change[tokens].mean() - change.mean()))
        assert causal.ablated[one] == pytest.approx(np.mean(moved), rel=0.01, abs=1e-4)


def test_what_comes_next_is_that_of_a_slow_count(found) -> None:
    _, stage, judged = found
    assert isinstance(judged, Judged)
    reading, outputs = stage.walk.reading, judged.outputs
    held = reading.held
    for one in range(0, judged.crowd.n_features, 5):
        rows = [row for row in judged.crowd.row[judged.crowd.entries(one)].tolist() if held.ravel()[row]]
        hits = 0
        for row in rows:
            window, position = divmod(row, reading.per_window)
            behind = position + 2
            hits += behind < reading.ids.shape[1] and reading.ids[window, behind] in outputs.tokens[one]
        assert outputs.next[one] == pytest.approx(hits / max(len(rows), 1))


@pytest.mark.parametrize("draw", ["normal", "gumbel"])
def test_what_no_draw_reaches_is_at_most_as_rare_as_it_is_said_to_be(draw: str) -> None:
    chance = np.random.default_rng(0)
    many = getattr(chance, draw)(size=400_000)
    realised = [[(far_beyond(many, null) <= p).mean() / p for p in (1e-2, 1e-3, 1e-4)] for null in nulls(chance, draw)]
    assert np.mean(realised, axis=0).max() < 1.3


def nulls(chance: np.random.Generator, draw: str) -> list[np.ndarray]:
    return [getattr(chance, draw)(size=750) for _ in range(20)]


def test_within_a_null_p_is_counted_and_beyond_it_falls() -> None:
    null = np.random.default_rng(0).normal(size=500)
    inside, beyond_it = np.sort(null), null.max() + np.arange(1.0, 5.0)
    np.testing.assert_array_equal(far_beyond(inside, null), beyond(inside, null))
    p = far_beyond(beyond_it, null)
    assert (np.diff(p) < 0).all()
    assert p[0] <= 1 / 501
    assert (far_beyond(beyond_it, np.zeros(0)) == 1).all()
