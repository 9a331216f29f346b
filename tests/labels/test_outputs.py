"""What a feature does to its words is what whole runs of the model say."""

from pathlib import Path

import numpy as np
import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.build import build_atlas
from micrographia.atlas.plan import AtlasConfig
from micrographia.calibration.planted import ROLES, WINDOW, Slide
from micrographia.ids import Layer
from micrographia.labels.build import LabelConfig, _Work
from micrographia.labels.halves import Halves
from micrographia.labels.judging import Judged
from micrographia.labels.outputs import _places
from micrographia.model.edits import at

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
