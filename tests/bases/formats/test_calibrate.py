"""Thresholds keep what they must, and what they cost is what a slow count says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from micrographia.bases.activation import JumpRelu, TopK
from micrographia.bases.formats import calibrate
from micrographia.bases.formats.calibrate import calibrated, thresholds_like
from micrographia.bases.formats.convert import convert, open_basis, save_basis
from micrographia.bases.formats.parts import BasisFile
from micrographia.bases.transcoder import Encoder
from micrographia.corpus.build import build
from micrographia.corpus.corpus import Corpus
from micrographia.errors import CallError, UnsupportedError, WorkError
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from tests.bases.formats.samples import cross_layer, per_layer
from tests.corpus.bytewise import folder_recipe, write_files


@given(
    n=st.integers(1, 12),
    k=st.integers(1, 12),
    rows=st.integers(1, 30),
    seed=st.integers(0, 99),
    at_once=st.integers(1, 50),
)
def test_every_feature_fires_as_often_as_before(n: int, k: int, rows: int, seed: int, at_once: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight, bias, x = (torch.randn(*shape, generator=generator) for shape in ((n, 3), (n,), (rows, 3)))
    encoder = Encoder(weight, bias, TopK(k))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "_NUMBERS", at_once)
        found = thresholds_like(encoder, x)
    after = replace(encoder, rule=JumpRelu(found))
    wanted = [sum(float(acts[feature]) > 0 for acts in encoder(x)) for feature in range(n)]
    assert [sum(float(acts[feature]) > 0 for acts in after(x)) for feature in range(n)] == wanted
    assert (found >= 0).all()


@pytest.fixture(scope="module")
def model(tiny) -> Model:
    return tiny("llama")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Corpus:
    folder = tmp_path_factory.mktemp("calibrate")
    draws = torch.randint(2, 80, (40, 30), generator=torch.Generator().manual_seed(0)).tolist()
    texts = write_files(folder / "texts", (" ".join(f"t{token}" for token in row) for row in draws))
    build(folder_recipe(texts, heldout=0.5), folder / "c", model.tokenizer)
    return Corpus.open(folder / "c")


def topk(kind: str, *, skip: bool = False, **facts: object) -> BasisFile:
    make = per_layer if kind == "per-layer" else cross_layer
    file = make("topk", d=24, n=40, skip=skip, **facts)
    layers = {layer: each.changed(lambda _, part: part.double()) for layer, each in file.layers.items()}
    return BasisFile(file.kind, layers, file.facts)


@pytest.mark.parametrize("kind", ["per-layer", "cross-layer"])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(("first", "norm"), [("trained", "as-read"), ("left-out", "before-gain")])
def test_the_costs_are_those_of_a_slow_count(
    monkeypatch: pytest.MonkeyPatch, model: Model, corpus: Corpus, kind: str, skip: bool, first: str, norm: str
) -> None:
    """The errors of the decomposition itself, document by document, before and after."""
    monkeypatch.setattr(calibrate, "_MEMORY", 1)  # one layer at a time
    file = topk(kind, skip=skip, first_position=first, input_norm=norm)
    found = calibrated(file, model, corpus, positions=150)
    left_out = 0 if first == "trained" else 1
    choosing, judging = calibrate._Reader(model, left_out).prompts(corpus, (150, 75))
    assert (found.chosen_on, found.judged_on) == tuple(
        sum(len(p.ids) - left_out for p in side) for side in (choosing, judging)
    )
    assert not {prompt.ids for prompt in choosing} & {prompt.ids for prompt in judging}
    assert found.chosen_on >= 150
    figures = []
    for each in (file, found.file):
        basis = calibrate.matched(each, model.anatomy, model.weights).basis(torch.float64)
        runs = [basis.decompose(freeze(model, prompt)) for prompt in judging]
        for layer in range(3):
            error = torch.cat([run.layers[layer].error[left_out:] for run in runs])
            truth = torch.cat([run.frozen.mlp(layer)[left_out:] for run in runs])
            active = sum(int((run.layers[layer].position >= left_out).sum()) for run in runs) / found.judged_on
            figures.append((active, float(error.square().sum() / (truth - truth.mean(0)).square().sum())))
    said = [(each.l0_before, each.fvu_before) for each in found.layers] + [(each.l0, each.fvu) for each in found.layers]
    for mine, wanted in zip(said, figures, strict=True):
        assert mine == pytest.approx(wanted, rel=1e-4)


def test_l0_is_kept_where_the_thresholds_are_chosen(model: Model, corpus: Corpus) -> None:
    file = topk("per-layer")
    found = calibrated(file, model, corpus, positions=150)
    choosing, _ = calibrate._Reader(model, 1).prompts(corpus, (150, 75))
    before, after = (
        [
            sum(int((layer.position >= 1).sum()) for layer in (run.layers[0], run.layers[1], run.layers[2]))
            for run in (each.basis(torch.float64).decompose(freeze(model, prompt)) for prompt in choosing)
        ]
        for each in (file, found.file)
    )
    assert sum(before) == sum(after)
    assert before != after  # another rule all the same
    assert "L0 3 → " in found.line


def test_a_conversion_tells_what_its_thresholds_cost(tmp_path: Path, model: Model, corpus: Corpus) -> None:
    save_basis(topk("per-layer", skip=True), tmp_path / "in")
    with pytest.raises(UnsupportedError, match="becomes ReLU"):
        convert(tmp_path / "in", tmp_path / "out", "saelens")
    done = convert(
        tmp_path / "in",
        tmp_path / "out",
        "saelens",
        calibrate=lambda file: calibrated(file, model, corpus, positions=150),
        check=True,
    )
    assert done.sound
    assert [each.layer for each in done.calibration] == [0, 1, 2]
    (line,) = done.lost
    assert line.startswith("TopK becomes JumpReLU, with thresholds from 1")
    rules = [each.activation_rule() for each in open_basis(tmp_path / "out").layers.values()]
    assert all(isinstance(rule, JumpRelu) for rule in rules)


def test_what_cannot_be_calibrated_is_said(model: Model, corpus: Corpus, smollm2) -> None:
    with pytest.raises(CallError, match="nothing to calibrate: no layer of this basis has TopK"):
        calibrated(per_layer("jumprelu", d=24), model, corpus)
    with pytest.raises(WorkError, match=r"too little text: .* have \d+ positions .* 8192 and 4096 are wanted"):
        calibrated(topk("per-layer"), model, corpus)
    with pytest.raises(UnsupportedError, match="has 6 dimensions"):
        calibrated(per_layer("topk"), model, corpus)
    with pytest.raises(CallError, match="is written in the tokens of llama"):
        calibrated(topk("per-layer"), smollm2.model, corpus)
