"""`micrographia evaluate`: what it prints and writes, what it refuses, how it ends."""

import json
import random
from pathlib import Path

import pytest
import torch

from micrographia.bases.evaluation.card import Card
from micrographia.bases.formats.convert import save_basis
from micrographia.bases.formats.parts import BasisFile
from tests.bases.formats.samples import per_layer
from tests.cli.calling import Call, Called
from tests.corpus.bytewise import write_files

D_MODEL = 24
SMALL = {
    "--tokens": "600",
    "--train-tokens": "900",
    "--all-layers-tokens": "200",
    "--one-layer-tokens": "100",
    "--prompt-tokens": "200",
    "--slope-tokens": "100",
}


@pytest.fixture
def here(call: Call, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a corpus `c` and a basis `b` for the tiny model."""
    monkeypatch.chdir(tmp_path)
    chance = random.Random(0)
    words = [f"t{number}" for number in range(2, 80)]
    write_files(tmp_path / "texts", (" ".join(chance.choices(words, k=60)) for _ in range(50)))
    call("corpus", "build", "texts", "--out", "c", "--heldout", "0.4", "--model", str(folder)).result()
    save_basis(per_layer("topk", d=D_MODEL), tmp_path / "b")
    return tmp_path


@pytest.fixture
def judge(call: Call, folder: Path, here: Path):
    """judge("b") is `micrographia evaluate b` on the tiny model and its corpus."""

    def judged(*said: str) -> Called:
        sizes = [word for flag, size in SMALL.items() if flag not in said for word in (flag, size)]
        return call("evaluate", *said, "--corpus", "c", "--model", str(folder), *sizes)

    return judged


def test_tables_on_the_screen(judge) -> None:
    said = judge("b").result()
    for title in ("Left unexplained", "In the model's place", "b, minus", "One layer in the model's place"):
        assert title in said
    for name in ("neurons at equal L0", "linear", "mean", "zero"):
        assert said.count(f"\n{name} ") == 3
    assert "Position 0 of every passage" in said


def test_json_is_the_card_and_the_page_says_the_same(judge, here: Path) -> None:
    found = Card.model_validate_json(judge("b", "--json", "--markdown", "card.md").result())
    assert found.rows[0].name == "b"
    assert found.provenance.bases[0].storage == "fp32"
    page = (here / "card.md").read_text(encoding="utf-8")
    assert f"{found.rows[0].cosine_real.value:.3f} [" in page
    assert Card.model_validate_json(judge("b", "--json").result()) == found


def test_peers_and_the_basis_before_rounding(judge, here: Path) -> None:
    save_basis(per_layer("topk", d=D_MODEL), here / "small", storage="int8")
    save_basis(per_layer("relu", d=D_MODEL), here / "peer", to="circuit-tracer")
    found = json.loads(judge("small", "--against", "b", "--peer", "peer", "--json").result())
    assert [(row["name"], row["role"]) for row in found["rows"][:3]] == [
        ("small", "basis"),
        ("b", "unrounded"),
        ("peer", "peer"),
    ]
    assert 0 < found["rounding"]["overall"] < 0.02
    assert "Rounding: weights off by" in judge("small", "--against", "b").result()


def test_neurons_need_no_folder(judge) -> None:
    found = json.loads(judge("neurons", "--json").result())
    assert found["rows"][0]["fvu"]["value"] < 1e-9
    assert found["rows"][0]["top1"]["value"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere",), 2, "nowhere is not there: give the folder"),
        (("transcoders",), 2, "No transcoders come along for"),
        (("wide",), 2, "wide does not fit"),
        (("broken",), 1, "values that are NaN or infinite"),
        (("b", "--tokens", "1000000"), 1, "There is too little text: the heldout split of c gives"),
        (("b", "--tokens", "0"), 2, "Invalid value"),
        (("b", "--against", "wide"), 2, "wide does not fit"),
        (("b", "--against", "few"), 2, "cannot be what b"),
        (("b", "--peer", "b"), 2, "Two of the bases are called b"),
        (("b", "--markdown", "no/card.md"), 2, "There is no folder no to write card.md in"),
    ],
)
def test_a_wrong_call_is_one_sentence(judge, here: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    save_basis(per_layer("topk", d=D_MODEL + 2), here / "wide")
    save_basis(per_layer("topk", d=D_MODEL, layers=(0, 1)), here / "few")
    _write_broken(here / "broken")
    assert said in judge(*arguments).complaint(code)


def test_a_corpus_of_other_tokens_is_refused(call: Call, here: Path) -> None:
    said = call("evaluate", "neurons", "--corpus", "c").complaint(2)
    assert "is written in the tokens of tiny" in said
    assert "is not a corpus" in call("evaluate", "neurons", "--corpus", "b").complaint(2)


def _write_broken(folder: Path) -> None:
    """A file of sparsify's that holds a NaN."""
    from safetensors.torch import load_file, save_file

    file: BasisFile = per_layer("topk", d=D_MODEL)
    save_basis(file, folder, to="sparsify")
    path = next(folder.rglob("*.safetensors"))
    tensors = load_file(path)
    tensors["W_dec"][0, 0] = torch.nan
    save_file(tensors, path)


def test_graphs_are_traced_where_they_are_asked_for(judge) -> None:
    card = Card.model_validate_json(judge("b", "--graphs", "3", "--json").result())
    assert [(row.name, row.prompts) for row in card.graphs] == [("b", 3), ("neurons", 3)]
    assert ">= 2" in judge("b", "--graphs", "1").complaint(2)
