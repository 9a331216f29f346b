"""`micrographia convert`: what it prints, what it refuses, how it ends."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from micrographia.bases.activation import Relu
from micrographia.bases.formats import sparsify
from micrographia.bases.formats.convert import FORMATS, save_basis
from micrographia.bases.formats.parts import LayerParts
from micrographia.bases.formats.reading import Settings
from micrographia.cli.convert import Source, Target
from micrographia.model.site import Point
from tests.bases.formats.damaged import DAMAGED, verdicts
from tests.bases.formats.samples import per_layer
from tests.cli.calling import Call, Called, spawn
from tests.corpus.bytewise import write_files


@pytest.fixture
def basis(tmp_path: Path) -> Path:
    save_basis(per_layer("topk"), tmp_path / "in")
    return tmp_path / "in"


def test_the_command_knows_every_format() -> None:
    assert get_args(Source) == tuple(each.name for each in FORMATS)
    assert set(get_args(Target)) < set(get_args(Source))


def test_it_says_what_was_written_and_that_it_is_equal(call: Call, basis: Path, tmp_path: Path) -> None:
    said = call("convert", str(basis), str(tmp_path / "out"), "--to", "sparsify", "--check").result()
    assert "micrographia → sparsify  per-layer, 3 layers, 30 features of 6 dimensions" in said
    assert said.count(": equal; activations differ by at most 0.00e+00") == 2


def test_what_would_be_lost_is_refused_and_then_listed(call: Call, basis: Path, tmp_path: Path) -> None:
    arguments = ("convert", str(basis), str(tmp_path / "out"), "--to", "circuit-tracer")
    assert "TopK (k = 3) becomes ReLU" in call(*arguments).complaint(2)
    assert not (tmp_path / "out").exists()
    said = call(*arguments, "--lossy", "--check").result()
    assert "Lost: TopK (k = 3) becomes ReLU" in said
    assert "Read back against what was meant: equal" in said
    assert "Read back against the source: different" in said


def test_json_says_everything(call: Call, basis: Path, tmp_path: Path) -> None:
    arguments = ("convert", str(basis), str(tmp_path / "out"), "--to", "micrographia", "--storage", "int8")
    found = json.loads(call(*arguments, "--check", "--json").result())
    assert found["layers"] == [0, 1, 2]
    assert 0 < found["rounding"]["overall"] < 0.02
    assert found["sound"] is True
    assert found["written"]["relative"] <= 1e-5 < found["changed"]["relative"]


def test_a_person_may_say_what_files_do_not(call: Call, tmp_path: Path) -> None:
    save_basis(per_layer(), tmp_path / "in", to="circuit-tracer")
    (tmp_path / "in" / "config.yaml").unlink()
    arguments = (
        "convert",
        str(tmp_path / "in"),
        str(tmp_path / "out"),
        "--to",
        "micrographia",
        "--from",
        "circuit-tracer",
    )
    call(*arguments, "--input-site", "resid_mid", "--output-site", "mlp_out", "--model", "a/model").result()
    facts = json.loads((tmp_path / "out" / "manifest.json").read_text())["facts"]
    assert (facts["input_site"], facts["output_site"], facts["model"]) == (Point.RESID_MID, Point.MLP_OUT, "a/model")


@pytest.fixture
def corpus(call: Call, tmp_path: Path, folder: Path) -> Path:
    """Texts in the words of the tiny model."""
    chance = random.Random(0)
    words = [f"t{number}" for number in range(2, 80)]
    texts = write_files(tmp_path / "texts", (" ".join(chance.choices(words, k=40)) for _ in range(30)))
    call(
        "corpus", "build", str(texts), "--out", str(tmp_path / "c"), "--heldout", "0.5", "--model", str(folder)
    ).result()
    return tmp_path / "c"


def test_thresholds_from_a_corpus_stand_in_for_topk(call: Call, tmp_path: Path, folder: Path, corpus: Path) -> None:
    save_basis(per_layer("topk", d=24), tmp_path / "in")
    arguments = ("convert", str(tmp_path / "in"), str(tmp_path / "out"), "--to", "circuit-tracer", "--check")
    chosen = ("--calibrate", str(corpus), "--model", str(folder))
    assert "There is too little text: the held-out documents" in call(*arguments, *chosen).complaint(1)
    assert not (tmp_path / "out").exists()
    found = json.loads(call(*arguments, *chosen, "--positions", "100", "--json").result())
    assert [each["layer"] for each in found["calibration"]] == [0, 1, 2]
    assert found["lost"][0].startswith("TopK becomes JumpReLU, with thresholds from ")
    assert found["sound"] is True
    again = ("convert", str(tmp_path / "out"), str(tmp_path / "more"), "--to", "saelens", *chosen)
    assert "nothing to calibrate: no layer of this basis has TopK" in call(*again).complaint(2)
    said = call(*again[:-4], "--calibrate", str(tmp_path / "in")).complaint(2)
    assert "is not a corpus, but of the kind 'per-layer'" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "out", "--to", "sparsify"), "nowhere is not there: give the folder"),
        (("in", "in", "--to", "sparsify"), "is there already, and nothing is written over"),
        (("in", "no/out", "--to", "sparsify"), "There is no folder"),
        (("in", "out", "--to", "gemma-scope"), "Invalid value"),
        (("in", "out", "--to", "sparsify", "--from", "saelens"), "holds no sae_weights.safetensors"),
        (("in", "out", "--to", "sparsify", "--input-site", "ear"), "There is no site 'ear'"),
    ],
)
def test_a_wrong_call_is_one_sentence(
    call: Call, basis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("convert", *arguments)
    assert said in done.complaint(done.code)
    assert done.code in (1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", DAMAGED)
def test_a_basis_that_is_wrong_is_one_sentence_and_leaves_nothing(name: str) -> None:
    found = verdicts()[name]
    assert found.code in (1, 2)
    assert found.left == []
    said = Called(found.code, found.out, found.err).complaint(found.code)
    assert re.search(DAMAGED[name].said, said)


def test_a_full_disk_is_one_sentence(basis: Path, tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))"
    said = spawn("convert", str(basis), str(tmp_path / "out"), "--to", "sparsify", before=limit).complaint(1)
    assert said.startswith(f"Cannot write {tmp_path / 'out'}: File too large; its disk has ")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_check_that_fails_ends_with_1(
    call: Call, basis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = sparsify._layer

    def misread(path: Path, layer: int, config: Settings) -> LayerParts:
        return replace(read(path, layer, config), rule=Relu())

    monkeypatch.setattr(sparsify, "_layer", misread)
    done = call("convert", str(basis), str(tmp_path / "out"), "--to", "sparsify", "--check")
    assert done.code == 1
    assert done.out.count(": different; activations differ") == 2
