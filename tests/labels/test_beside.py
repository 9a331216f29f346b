"""Labels that come along are read and never written; one's own are kept elsewhere, and shown."""

import shutil
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from micrographia.atlas.atlas import BESIDE, Atlas
from micrographia.errors import CallError, WorkError
from micrographia.ids import Layer
from micrographia.labels import beside
from micrographia.labels.beside import labels_beside, labels_place, labels_to_write
from micrographia.labels.store import LabelBook
from tests.labels.made import PROVENANCE, label


@pytest.fixture
def mine(atlas: Atlas, tmp_path: Path) -> Atlas:
    """A copy that may have labels beside it."""
    shutil.copytree(atlas.folder, tmp_path / "mine" / "atlas")
    return Atlas.open(tmp_path / "mine" / "atlas")


@pytest.fixture
def own(mine: Atlas) -> LabelBook:
    """Labels of exactly the atlas's basis."""
    book = LabelBook.create(labels_place(mine.folder))
    fits = PROVENANCE.model_copy(update={"basis_fingerprint": mine.manifest.plan.basis.fingerprint})
    unnamed = label(0, 4, None, "obscure")
    assert unnamed.evidence is not None
    failed = unnamed.evidence.model_copy(update={"withdrawn": "years"})
    book.write(0, [label(0, 3), replace(unnamed, evidence=failed)], fits)
    return book


@pytest.fixture
def shipped(mine: Atlas, own: LabelBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Atlas:
    """An atlas that came along, with slim labels; the place for one's own is empty."""
    folder = tmp_path / "package"
    shutil.copytree(mine.folder, folder / BESIDE)
    own.slim(labels_place(folder / BESIDE))
    monkeypatch.setattr(beside, "shipped_folder", lambda: folder)
    monkeypatch.setattr(beside, "built_place", lambda: tmp_path / "cache" / "transcoders")
    return Atlas.open(folder / BESIDE)


def test_labels_lie_beside_their_atlas(tmp_path: Path) -> None:
    assert labels_place(tmp_path / "atlas") == tmp_path / "atlas.labels"


def test_a_slim_copy_keeps_names_whole_and_of_the_rest_the_kind(own: LabelBook, tmp_path: Path) -> None:
    own.say(0, 5, "mine")
    own.slim(tmp_path / "slim")
    with LabelBook.sealed(tmp_path / "slim") as slim:
        named, unnamed = slim.label(0, 3), slim.label(0, 4)
        assert named is not None
        assert unnamed is not None
        assert (named.text, named.evidence) == ("␣years", label(0, 3).evidence)
        assert (unnamed.kind, unnamed.text, unnamed.why) == ("obscure", None, "Its name failed in unseen documents.")
        assert unnamed.evidence is not None
        assert (unnamed.evidence.held, unnamed.evidence.withdrawn) == (None, "years")
        assert slim.own() == []
        whole = own.provenances()[Layer(0)]
        assert slim.provenances() == {0: whole.model_copy(update={"method": f"{whole.method}, slim"})}
    assert [each.name for each in tmp_path.glob("slim*")] == ["slim"]
    with pytest.raises(CallError, match="there already"):
        own.slim(tmp_path / "slim")


def test_a_slim_copy_that_is_opened_by_its_name_stays_as_it_is(own: LabelBook, tmp_path: Path) -> None:
    own.slim(tmp_path / "slim")
    before = (tmp_path / "slim").read_bytes()
    with LabelBook.open(tmp_path / "slim") as book:
        assert book.label(0, 3).text == "␣years"
    assert (tmp_path / "slim").read_bytes() == before
    with LabelBook.create(tmp_path / "slim") as book:
        book.say(0, 3, "mine")
        assert book._ask("PRAGMA journal_mode", ()) == [("wal",)]


def test_of_a_slim_copy_that_fails_nothing_is_left(
    own: LabelBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(sqlite3.Connection):
        def execute(self, sql: str, *more):
            if sql == "VACUUM":
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *more)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **more: connect(path, factory=Full, **more))
    with pytest.raises(WorkError, match="the disk is full"):
        own.slim(tmp_path / "slim")
    assert not list(tmp_path.glob("slim*"))


@pytest.mark.parametrize("way", ["whole", "from here"])
def test_labels_that_come_along_are_read_and_left_as_they_are(
    shipped: Atlas, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = labels_place(shipped.folder)
    before = place.read_bytes()
    monkeypatch.chdir(place.parent)
    with labels_beside(shipped if way == "whole" else Atlas.open(BESIDE)) as book:
        assert book.label(0, 3).text == "␣years"
        with pytest.raises(WorkError, match="readonly"):
            book.say(0, 3, "mine")
    assert place.read_bytes() == before
    assert [each.name for each in place.parent.glob("*.labels*")] == [place.name]


def test_labels_of_the_small_atlas_would_hide_better_ones(shipped: Atlas, mine: Atlas) -> None:
    assert beside.labels_instead_of(shipped) == labels_place(beside.built_place())
    assert beside.labels_instead_of(mine) is None
    shutil.copytree(mine.folder, beside.built_place())
    assert beside.labels_instead_of(Atlas.open(beside.built_place())) is None


def test_what_people_say_is_kept_elsewhere_and_shown_with_the_rest(shipped: Atlas) -> None:
    before = labels_place(shipped.folder).read_bytes()
    with labels_to_write(shipped) as book:
        book.say(0, 4, "mine")
    with labels_to_write(shipped) as book:
        book.say(0, 5, "too")
    assert labels_place(shipped.folder).read_bytes() == before
    with labels_beside(shipped) as book:
        assert [book.label(0, i).text for i in (3, 4, 5)] == ["␣years", "mine", "too"]


def test_labels_of_other_transcoders_are_passed_over_and_put_aside(shipped: Atlas) -> None:
    there = labels_place(beside.built_place())
    there.parent.mkdir()
    with LabelBook.create(there) as old:
        old.write(0, [label(0, 3, "of another basis")], PROVENANCE)
    with labels_beside(shipped) as book:
        assert book.label(0, 3).text == "␣years"
    with labels_to_write(shipped) as book:
        book.say(0, 4, "mine")
    with labels_beside(shipped) as book:
        assert [book.label(0, i).text for i in (3, 4)] == ["␣years", "mine"]
    with LabelBook.open(there.with_name(f"{there.name}.before")) as old:
        assert old.label(0, 3).text == "of another basis"


def test_the_log_of_other_labels_that_somebody_reads_is_not_taken_for_the_copys(shipped: Atlas) -> None:
    there = labels_place(beside.built_place())
    there.parent.mkdir()
    with LabelBook.create(there) as old, LabelBook.open(there) as reader:
        old.write(0, [label(0, i, "of another basis") for i in range(300)], PROVENANCE)
        reader._connection.execute("BEGIN")
        reader._ask("SELECT count(*) FROM labels", ())
        old.say(0, 1, "theirs")
        with labels_to_write(shipped) as book:
            book.say(0, 4, "mine")
        with labels_beside(shipped) as book:
            assert [book.label(0, i).text for i in (3, 4)] == ["␣years", "mine"]
            assert book.own() == [(0, 4, "mine")]
        reader._connection.execute("ROLLBACK")


def test_nothing_that_two_people_say_at_once_is_lost(shipped: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, others = shutil.copyfile, list[threading.Thread]()

    def say() -> None:
        with labels_to_write(shipped) as book:
            book.say(0, 5, "theirs")

    def while_another_comes(source: Path, target: Path) -> None:
        if not others:
            others.append(threading.Thread(target=say))
            others[0].start()
            others[0].join(0.5)
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", while_another_comes)
    with labels_to_write(shipped) as book:
        book.say(0, 4, "mine")
    others[0].join()
    with labels_beside(shipped) as book:
        assert book.own() == [(0, 4, "mine"), (0, 5, "theirs")]


def test_what_people_said_before_any_labels_came_along_is_taken_over(shipped: Atlas) -> None:
    there = labels_place(beside.built_place())
    there.parent.mkdir()
    with LabelBook.create(there) as old:
        old.say(0, 3, "mine")
    with labels_to_write(shipped) as book:
        assert book.own() == [(0, 3, "mine")]
        assert book.label(0, 3).text == "mine"


def test_an_atlas_of_ones_own_has_its_labels_beside_it(mine: Atlas) -> None:
    assert labels_beside(mine) is None
    with labels_to_write(mine) as book:
        book.say(0, 3, "mine")
    assert labels_place(mine.folder).exists()
    with labels_beside(mine) as book:
        assert book.label(0, 3).text == "mine"
