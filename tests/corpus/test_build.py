import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrographia.corpus.build import build, split_of
from micrographia.corpus.corpus import Corpus
from micrographia.corpus.manifest import CorpusManifest, SourceReport
from micrographia.corpus.recipe import Recipe, StandardLibrary, TextFiles
from micrographia.errors import CacheError, CallError, WorkError
from micrographia.model.tokens import Tokenizer
from tests.corpus.bytewise import UNWRITABLE, bytewise, content_of, folder_recipe, story, write_files

REPOSITORY = Path(__file__).parents[2]

BUILD = """
import resource, sys
from pathlib import Path
from micrographia.corpus.build import build
from micrographia.errors import MicrographiaError
from tests.corpus.bytewise import bytewise, folder_recipe
texts, out, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
def report(stage, done, total, /):
    print(stage, done, total, flush=True)
try:
    build(folder_recipe(texts), out, bytewise(), shard_tokens=2000, progress=report)
except MicrographiaError as error:
    print("error:", error)
"""


def in_its_own_process(texts: Path, out: Path, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILD, str(texts), str(out), str(limit)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return write_files(tmp_path / "texts", (story(number) for number in range(60)))


def only(manifest: CorpusManifest) -> SourceReport:
    (report,) = manifest.sources
    return report


# ---------------------------------------------------------------- what is kept


def test_every_document_is_in_one_split_with_its_text(texts: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    manifest = build(folder_recipe(texts), tmp_path / "c", tokenizer, shard_tokens=2000)
    corpus = Corpus.open(tmp_path / "c")
    found = {d.name: tokenizer.decode(d.ids[1:].tolist()) for s in ("train", "heldout") for d in corpus.documents(s)}
    assert found == {path.name: path.read_text() for path in texts.iterdir()}
    report = only(manifest)
    assert (report.read, report.exhausted, report.version) == (60, True, "")
    assert report.train.documents + report.heldout.documents == 60
    assert report.heldout.documents > 5
    assert report.tokens == sum(len(text) + 1 for text in found.values()) == report.characters + 60
    assert len(manifest.shards) > 3
    assert manifest == corpus.manifest


def test_equal_documents_are_kept_once_whatever_their_white_space(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = write_files(tmp_path / "t", ["one two", "one  two\n", "two one", "\n \n", "", "one two"])
    report = only(build(folder_recipe(texts), tmp_path / "c", tokenizer))
    assert (report.read, report.duplicates, report.empty, report.train.documents + report.heldout.documents) == (
        5,
        2,
        1,
        2,
    )


@given(numbers=st.lists(st.integers(0, 5), min_size=1, max_size=15))
def test_as_many_documents_are_kept_as_there_are_different_ones(
    numbers: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    texts = write_files(folder / "t", (story(number) for number in numbers))
    report = only(build(folder_recipe(texts), folder / "c", bytewise(), shard_tokens=300))
    assert report.train.documents + report.heldout.documents == len(set(numbers))
    assert report.duplicates == len(numbers) - len(set(numbers))


def test_documents_that_nearly_agree_are_kept_once_unless_wanted(tmp_path: Path, tokenizer: Tokenizer) -> None:
    long = "".join(story(number) for number in range(30))
    texts = write_files(tmp_path / "t", [long, long.replace("Observation 15.", "Observation fifteen."), story(99)])
    report = only(build(folder_recipe(texts), tmp_path / "c", tokenizer))
    assert (report.near_duplicates, report.train.documents + report.heldout.documents) == (1, 2)
    report = only(build(folder_recipe(texts, near_duplicates=False), tmp_path / "d", tokenizer))
    assert (report.near_duplicates, report.train.documents + report.heldout.documents) == (0, 3)


def test_a_further_source_moves_no_document_to_the_other_split(
    texts: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    more = write_files(tmp_path / "more", (story(number) for number in range(1000, 1030)))
    build(folder_recipe(texts), tmp_path / "a", tokenizer)
    sources = (TextFiles(name="more", path=more), TextFiles(name="stories", path=texts))
    build(Recipe(sources=sources, heldout=0.3), tmp_path / "b", tokenizer)
    held = [
        {d.name for d in Corpus.open(tmp_path / name).documents("heldout") if d.source == "stories"} for name in "ab"
    ]
    assert held[0] == held[1]


def test_about_as_many_are_held_out_as_asked_and_the_seed_decides_which() -> None:
    recipe = folder_recipe(Path("."), heldout=0.1)
    held = {group for group in range(20_000) if split_of(group, recipe) == "heldout"}
    assert 1850 < len(held) < 2150
    assert all(split_of(group, folder_recipe(Path("."), heldout=0.0)) == "train" for group in range(1000))
    other = {
        group for group in range(20_000) if split_of(group, folder_recipe(Path("."), heldout=0.1, seed=1)) == "heldout"
    }
    assert len(held & other) < 300


def test_pieces_of_a_file_stay_together(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = write_files(tmp_path / "t", ("\n\n".join(story(10 * n + i) for i in range(10)) for n in range(12)))
    build(folder_recipe(texts, longest=300), tmp_path / "c", tokenizer)
    corpus = Corpus.open(tmp_path / "c")
    files = [{d.name.split("#")[0] for d in corpus.documents(split)} for split in ("train", "heldout")]
    assert not files[0] & files[1]
    assert sum(map(len, files)) == 12


def test_a_share_ends_with_the_document_that_fills_it(texts: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    more = write_files(tmp_path / "more", (story(number) for number in range(1000, 1030)))
    sources = (
        TextFiles(name="a", path=texts, share=3),
        TextFiles(name="none", path=texts, share=0),
        TextFiles(name="b", path=more, share=1),
    )
    manifest = build(Recipe(sources=sources, tokens=8000), tmp_path / "c", tokenizer, shard_tokens=1000)
    a, none, b = manifest.sources
    assert 6000 <= a.tokens < 6400
    assert none.read == none.tokens == 0
    assert 2000 <= b.tokens < 2400
    assert not a.exhausted


def test_characters_without_a_token_are_counted(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = write_files(tmp_path / "t", [f"a{UNWRITABLE}b{UNWRITABLE}", "plain"])
    assert only(build(folder_recipe(texts), tmp_path / "c", tokenizer)).replaced == 2


def test_the_real_standard_library_can_be_built(tmp_path: Path, tokenizer: Tokenizer) -> None:
    recipe = Recipe(sources=(StandardLibrary(name="python", limit=200_000),))
    report = only(build(recipe, tmp_path / "c", tokenizer))
    assert 200_000 <= report.tokens < 225_000
    assert report.version.startswith("Python 3.")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("content", "said"), [("", "they are empty"), ("\n \n\t", "all 1 documents in them are blank")]
)
def test_no_text_at_all_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, tokenizer: Tokenizer, content: str, said: str
) -> None:
    texts = write_files(tmp_path / "t", [content])
    with pytest.raises(WorkError, match=f"There is no text in these sources: {said}"):
        build(folder_recipe(texts), tmp_path / "c", tokenizer)
    assert {path.name for path in tmp_path.iterdir()} == {"t", ".c.lock"}


def test_junk_among_the_files_leaves_nothing_half_written(texts: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    (texts / "zz.txt").write_bytes(b"\0\1\2")
    with pytest.raises(WorkError, match=r"zz\.txt is not text"):
        build(folder_recipe(texts), tmp_path / "c", tokenizer)
    assert {path.name for path in tmp_path.iterdir()} == {"texts", ".c.lock"}


def test_a_corpus_that_is_there_is_left_as_it_is(texts: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    first = build(folder_recipe(texts), tmp_path / "c", tokenizer)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").iterdir()}
    assert build(folder_recipe(texts), tmp_path / "c", tokenizer) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "c").iterdir()} == before
    for recipe, other in ((folder_recipe(texts, seed=1), tokenizer), (folder_recipe(texts), bytewise(shifted=1))):
        with pytest.raises(CallError, match=r"holds a corpus already, of another recipe, tokenizer.* delete it: rm -r"):
            build(recipe, tmp_path / "c", other)


def test_a_folder_of_something_else_is_not_overwritten(texts: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(CallError, match=r"texts is there already, and is no corpus\. Choose another"):
        build(folder_recipe(texts), texts, tokenizer)
    with pytest.raises(CallError, match=r"000\.txt is there already, and is no corpus"):
        build(folder_recipe(texts), texts / "000.txt", tokenizer)
    with pytest.raises(
        CacheError, match=r"Cannot write the corpus .*/c: Not a directory\. Choose another --out\.$|File exists"
    ):
        build(folder_recipe(texts), texts / "000.txt" / "c", tokenizer)
    (tmp_path / "empty").mkdir()
    assert build(folder_recipe(texts), tmp_path / "empty", tokenizer).shards


# ---------------------------------------------------------------- interruptions


@pytest.fixture
def whole(texts: Path, tmp_path: Path, tokenizer: Tokenizer) -> dict[str, bytes]:
    """What an undisturbed build makes."""
    build(folder_recipe(texts), tmp_path / "whole", tokenizer, shard_tokens=2000, workers=1)
    return content_of(tmp_path / "whole")


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_number_of_workers_changes_no_byte(
    texts: Path, tmp_path: Path, tokenizer: Tokenizer, whole: dict[str, bytes], workers: int
) -> None:
    build(folder_recipe(texts), tmp_path / "c", tokenizer, shard_tokens=2000, workers=workers)
    assert content_of(tmp_path / "c") == whole


def test_a_build_that_is_stopped_anywhere_ends_with_the_same_bytes(
    texts: Path, tmp_path: Path, tokenizer: Tokenizer, whole: dict[str, bytes]
) -> None:
    out, chance, stops = tmp_path / "c", random.Random(1), 0

    def build_until(left: int) -> None:
        def progress(stage: str, done: int, total: int, /) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt

        build(folder_recipe(texts), out, tokenizer, shard_tokens=2000, progress=progress)

    while not out.exists():
        try:
            build_until(chance.randint(0, 20))
        except KeyboardInterrupt:
            stops += 1
            if (building := out.with_name("c.building")).exists():
                (building / ".shard-00009.safetensors.abc.tmp").write_bytes(b"half")
    assert stops > 4
    assert content_of(out) == whole


def test_a_build_that_is_killed_at_random_ends_with_the_same_bytes(
    texts: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    chance = random.Random(3)
    for number in range(3):
        with in_its_own_process(texts, tmp_path / "c") as process:
            assert process.stdout is not None
            for _ in range(chance.randint(8, 25) if number else 0):
                process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
    with in_its_own_process(texts, tmp_path / "c") as process:
        assert process.stdout is not None
        assert "error:" not in process.stdout.read()
    assert content_of(tmp_path / "c") == whole


def test_two_processes_at_once_build_it_once(
    texts: Path, tmp_path: Path, tokenizer: Tokenizer, whole: dict[str, bytes]
) -> None:
    begun, waiting = threading.Event(), threading.Event()
    stages: list[str] = []

    def first(stage: str, done: int, total: int, /) -> None:
        begun.set()
        assert waiting.wait(20)

    def second(stage: str, done: int, total: int, /) -> None:
        stages.append(stage)
        waiting.set()

    def other() -> None:
        assert begun.wait(20)
        build(folder_recipe(texts), tmp_path / "c", tokenizer, shard_tokens=2000, progress=second)

    thread = threading.Thread(target=other)
    thread.start()
    build(folder_recipe(texts), tmp_path / "c", tokenizer, shard_tokens=2000, progress=first)
    thread.join()
    assert set(stages) == {"waiting for another process"}
    assert content_of(tmp_path / "c") == whole


def interrupted(texts: Path, out: Path, tokenizer: Tokenizer) -> None:
    """Leave a build behind that has finished a shard."""
    shards = out.with_name(f"{out.name}.building")

    def progress(stage: str, done: int, total: int, /) -> None:
        if list(shards.glob("shard-*")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(folder_recipe(texts), out, tokenizer, shard_tokens=2000, progress=progress)


def test_texts_that_changed_meanwhile_are_noticed(texts: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    interrupted(texts, tmp_path / "c", tokenizer)
    for path in texts.iterdir():
        path.write_text(path.read_text() + "more")
    with pytest.raises(
        CacheError, match=r"The texts of 'stories' have changed since .* Begin anew: rm -r .*c\.building"
    ):
        build(folder_recipe(texts), tmp_path / "c", tokenizer, shard_tokens=2000)


def test_another_recipe_does_not_go_on_with_it(texts: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    interrupted(texts, tmp_path / "c", tokenizer)
    with pytest.raises(CallError, match=r"c\.building holds an unfinished corpus of another recipe.*rm -r"):
        build(folder_recipe(texts, seed=4), tmp_path / "c", tokenizer, shard_tokens=2000)
    assert list((tmp_path / "c.building").glob("shard-*"))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no RLIMIT_FSIZE")
def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(
    texts: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    with in_its_own_process(texts, tmp_path / "c", limit=6000) as process:
        assert process.stdout is not None
        said = process.stdout.read()
    assert "error: Cannot write the corpus" in said
    assert "File too large. Make room, and the same command goes on" in said
    assert not (tmp_path / "c").exists()
    with in_its_own_process(texts, tmp_path / "d", limit=100) as process:
        assert process.stdout is not None
        assert "error: Cannot write the corpus" in process.stdout.read()
    assert {path.name for path in tmp_path.iterdir()} == {"texts", "whole", ".whole.lock", ".c.lock", ".d.lock"}
    with in_its_own_process(texts, tmp_path / "c") as process:
        assert process.stdout is not None
        process.stdout.read()
    assert content_of(tmp_path / "c") == whole
