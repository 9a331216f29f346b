"""Labels survive a file, other processes, rebuilds, and whatever people write."""

import shutil
import sqlite3
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from micrographia.errors import CacheError, CallError, WorkError
from micrographia.labels import store
from micrographia.labels.store import LabelBook, check_text
from tests.labels.made import PROVENANCE, label


@pytest.fixture
def book(tmp_path: Path):
    with LabelBook.create(tmp_path / "atlas.labels") as book:
        book.write(0, [label(0, 3), label(0, 4, None, "obscure")], PROVENANCE)
        yield book


def test_what_is_written_is_read_back(book: LabelBook) -> None:
    found = LabelBook.open(book.path).label(0, 3)
    wanted = replace(label(0, 3), provenance=PROVENANCE)
    fields = ("layer", "index", "kind", "text", "by", "why", "score", "interval", "nulls", "evidence", "provenance")
    assert [getattr(found, field) for field in fields] == [getattr(wanted, field) for field in fields]
    assert book.label(0, 5) is None
    assert book.label(1, 3) is None
    assert set(book.labels(0)) == {3, 4} == set(book.labels(0, range(2000)))
    assert book.layers == (0,)
    assert book.counts() == {(0, "input", True): 1, (0, "obscure", False): 1}
    assert list(book.of_kind("obscure")) == [(0, 4)]


def test_names_are_those_of_the_labels_whoever_gave_them(book: LabelBook) -> None:
    book.say(0, 4, "mine")
    book.say(0, 9, "alone")
    assert book.names(0) == {i: (label.kind, label.text or "") for i, label in book.labels(0).items()}
    assert book.names(0)[9] == (None, "alone")
    assert book.names(1) == {}


def test_a_build_replaces_its_layer_and_keeps_what_people_say(book: LabelBook) -> None:
    book.say(0, 3, " my <b>own</b> words ")
    book.say(0, 9, "not built yet")
    book.write(1, [label(1, 0)], PROVENANCE)
    later = PROVENANCE.model_copy(update={"version": "2"})
    book.write(0, [label(0, 3, "␣days")], later)
    mine = book.label(0, 3)
    assert mine is not None
    assert (mine.text, mine.by, mine.kind, mine.score) == ("my <b>own</b> words", "person", "input", None)
    assert "␣days" in mine.why
    assert mine.evidence is not None
    alone = book.label(0, 9)
    assert alone is not None
    assert (alone.text, alone.kind, alone.evidence) == ("not built yet", None, None)
    assert set(book.labels(0)) == {3, 9}
    assert {layer: each.version for layer, each in book.provenances().items()} == {0: "2", 1: "1"}
    assert book.unsay(0, 3)
    assert not book.unsay(0, 3)
    assert book.label(0, 3).text == "␣days"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least one"),
        (" \n", "at least one"),
        ("a" * 10_000, "10,000"),
        ("a\nb", "one line"),
        ("\x1b[31m", "x1b"),
    ],
)
def test_texts_that_are_no_labels_are_refused(text: str, said: str) -> None:
    with pytest.raises(CallError, match=said):
        check_text(text)


def test_markup_is_text() -> None:
    assert check_text("<script>alert(1)</script>") == "<script>alert(1)</script>"


def test_a_reader_reads_while_a_writer_writes(book: LabelBook) -> None:
    reader = LabelBook.open(book.path)
    with book._writing() as connection:
        connection.execute("DELETE FROM labels")
        assert reader.label(0, 3) is not None
        asked = (
            f"from micrographia.labels.store import LabelBook; print(LabelBook.open({str(book.path)!r}).label(0, 3))"
        )
        done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
        assert "0/3 input" in done.stdout
    assert reader.label(0, 3) is None


def test_a_writer_waits_and_then_says_who_is_in_the_way(book: LabelBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    other = LabelBook.open(book.path)
    with book._writing(), pytest.raises(WorkError, match="Another process is writing"):
        other.say(0, 1, "no")
    other.say(0, 1, "yes")
    assert book.label(0, 1).text == "yes"


def test_a_write_that_fails_leaves_everything_as_it_was(book: LabelBook) -> None:
    def some():
        yield label(0, 8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        book.write(0, some(), PROVENANCE)
    assert set(book.labels(0)) == {3, 4}


def test_an_older_file_is_brought_up_to_date(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "old.labels")
    old.executescript(store._MIGRATIONS[0] + "; PRAGMA user_version = 1")
    old.close()
    with LabelBook.open(tmp_path / "old.labels") as book:
        book.say(0, 1, "mine")
        assert book._ask("PRAGMA user_version", ()) == [(len(store._MIGRATIONS),)]
        assert book._ask("PRAGMA journal_mode", ()) == [("wal",)]


def test_a_newer_file_and_one_that_is_none_are_refused(tmp_path: Path) -> None:
    new = sqlite3.connect(tmp_path / "new.labels")
    new.execute("PRAGMA user_version = 99")
    new.close()
    with pytest.raises(CacheError, match="schema version 99"):
        LabelBook.open(tmp_path / "new.labels")
    (tmp_path / "text.labels").write_text("nothing of the kind " * 100)
    with pytest.raises(CacheError, match="not a file of labels"):
        LabelBook.open(tmp_path / "text.labels")
    with pytest.raises(CallError, match="There are no labels"):
        LabelBook.open(tmp_path / "absent.labels")


def test_damaged_evidence_is_one_sentence(book: LabelBook) -> None:
    for blob in (b"no such thing", zlib.compress(b"[]")):
        book._connection.execute("UPDATE labels SET evidence = ? WHERE layer = 0 AND feature = 3", (blob,))
        with pytest.raises(CacheError, match=r"evidence of 0/3 in .* cannot be read.*--layers 0"):
            book.label(0, 3)


def test_where_nothing_can_be_written_labels_can_be_read(book: LabelBook, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(sqlite3.Connection):
        def execute(self, sql: str, *more):
            if "journal_mode" in sql:
                raise sqlite3.OperationalError("attempt to write a readonly database")
            return super().execute(sql, *more)

    book.close()
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **more: connect(path, factory=Closed, **more))
    with LabelBook.open(book.path) as closed:
        assert closed.label(0, 3) is not None
        with pytest.raises(WorkError, match="Cannot write"):
            closed.say(0, 3, "words")


@pytest.mark.parametrize(
    ("free", "said"), [(0, "the disk is full"), (1 << 40, "Look after the disk")], ids=["no room", "room"]
)
def test_a_disk_that_takes_no_more_is_no_reason_to_delete_labels(
    book: LabelBook, monkeypatch: pytest.MonkeyPatch, free: int, said: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(WorkError, match=said), store._understood(book.path):
        raise sqlite3.OperationalError("disk I/O error")


def test_where_the_disk_is_full_labels_can_be_read(book: LabelBook, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(sqlite3.Connection):
        def execute(self, sql: str, *more):
            if "journal_mode" in sql:
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *more)

    book.close()
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **more: connect(path, factory=Full, **more))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with LabelBook.open(book.path) as full:
        assert full.label(0, 3) is not None
        with pytest.raises(WorkError, match="the disk is full"):
            full.say(0, 3, "words")
