"""The labels of an atlas's features: one SQLite file beside it.

Readers and a writer may have it open at once: it is written in WAL mode, and every write is one short transaction. What
people write lies in a table of its own, which no build touches; where it says something, it is what is shown.
"""

import json
import shutil
import sqlite3
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, cast, final

from pydantic import ValidationError

from micrographia import store
from micrographia.atlas.atlas import Atlas
from micrographia.errors import CacheError, CallError, WorkError
from micrographia.ids import Layer
from micrographia.labels.label import By, Evidence, Kind, Label, Provenance

__all__ = ["LONGEST", "PATIENCE", "Control", "LabelBook", "check_text"]

LONGEST = 512
"""Characters of a label that a person writes; other tools take no more."""
PATIENCE = 10.0
"""Seconds that a call waits for another process that is writing."""
_ROOM = 1 << 20
"""Bytes without which a disk is full: SQLite needs some to begin."""

_MIGRATIONS = (
    """
    CREATE TABLE builds (id INTEGER PRIMARY KEY, provenance TEXT NOT NULL UNIQUE);
    CREATE TABLE labels (
        layer INTEGER NOT NULL, feature INTEGER NOT NULL, build INTEGER NOT NULL REFERENCES builds,
        kind TEXT NOT NULL, text TEXT, why TEXT NOT NULL,
        score REAL, low REAL, high REAL, shuffled REAL, random REAL, top_token REAL,
        evidence BLOB NOT NULL, PRIMARY KEY (layer, feature)
    ) WITHOUT ROWID;
    CREATE INDEX by_kind ON labels (kind, layer);
    CREATE TABLE controls (
        layer INTEGER PRIMARY KEY, tried INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL,
        cross_ INTEGER NOT NULL
    );
    """,
    """
    CREATE TABLE own (
        layer INTEGER NOT NULL, feature INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (layer, feature)
    ) WITHOUT ROWID;
    """,
)
_NAMES = (
    b'{"density":0.00,"examples":36,"shares":[{"offset":0,"name":"","token":1,"share":0.1,"corpus":0.00,"o'
    b'dds":2.,"entropy":3.,"p":0.0004998},{"offset":-1,"name":"a capitalised word","token":null,"share":0.'
    b'2,"corpus":0.0,"odds":1.,"entropy":4.,"p":0.0004998}],"said":{"tokens":[1,2,3],"concentration":0.1,"'
    b'p_concentration":0.003322,"next":0.0,"next_elsewhere":0.00,"p_next":0.004975,"argmax":0.0,"argmax_el'
    b'sewhere":0.00,"p_argmax":0.004975},"effect":{"n":4,"ablated":-0.,"boosted":0.,"random":0.,"auc":1.0,'
    b'"p":0.003322},"rule":"0=1,2","strong":true,"held":{"n":1,"documents":1,"base":0.00,"recall":0.,"prec'
    b'ision":0.,"f1":0.,"auc":0.,"hard":null,"low":0.,"high":0.,"deciles":[0.0,1.0,0.5],"shuffled":0.50,"r'
    b'andom":0.5,"bar":0.4,"top_token":0.5},"edits":{"n":4,"named":0.0,"other":0.9},"windows":[{"name":"in'
    b'put","cosine":0.,"null":0.,"p":0.}],"withdrawn":"'
)
"""What evidence is compressed with: to change it is to change the form of the file."""
_SLIM = ", slim"
_FAILED = "Its name failed in unseen documents."
_COLUMNS = "layer, feature, build, kind, text, why, score, low, high, shuffled, random, top_token, evidence"
_NULLS = ("shuffled", "random", "top_token")
_Row: TypeAlias = tuple[
    int, int, int, str, str | None, str, float | None, float | None, float | None, *tuple[float | None, ...]
]


def check_text(text: str) -> str:
    """A label that a person gives, without what surrounds it. It is text and nothing else: markup is shown as it is."""
    said = text.strip()
    if not said:
        raise CallError("A label needs at least one character that can be seen; to take one back: --unset.")
    if len(said) > LONGEST:
        raise CallError(f"A label has at most {LONGEST} characters, and this has {len(said):,}: say it shorter.")
    if not said.isprintable():
        strange = next(c for c in said if not c.isprintable())
        raise CallError(f"A label is one line of text, and this one contains {strange!r}.")
    return said


@dataclass(frozen=True, slots=True)
class Control:
    """How many random directions went through what features go through, and how many would have got a name."""

    tried: int
    input: int
    output: int
    cross: int


@final
class LabelBook:
    """Kinds, names and evidence of features. `open` makes one; `label` is the question."""

    __slots__ = ("_connection", "_provenances", "path")

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection
        self._provenances: dict[int, Provenance] = {}

    def __repr__(self) -> str:
        return f"<LabelBook {self.path}: {sum(self.counts().values()):,} features>"

    def __enter__(self) -> "LabelBook":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def open(path: Path | str) -> "LabelBook":
        """Open labels that are there. Nothing is written until something is said: a slim copy stays as it came."""
        place = Path(path).expanduser()
        if not place.is_file():
            raise CallError(f"There are no labels at {str(place)!r}. Make them: micrographia label")
        return _opened(place)

    @staticmethod
    def sealed(path: Path) -> "LabelBook":
        """Open labels that nobody writes to, and write nothing beside them."""
        with _understood(path):
            return LabelBook(path, _sealed(path))

    @staticmethod
    def create(path: Path) -> "LabelBook":
        """Open labels to write to; a new file where there is none."""
        elsewhere = "choose another place, or copy the atlas to one of your own."
        with store.writing(path, kind=WorkError, elsewhere=elsewhere):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return _opened(path, to_write=True)

    def close(self) -> None:
        """Close the file. What is in the log is put into it, if nobody else has it open."""
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    # ------------------------------------------------------------ asking

    def label(self, layer: int, index: int) -> Label | None:
        """What is said of one feature; None if nothing is."""
        return self.labels(layer, [index]).get(index)

    def labels(self, layer: int, indices: Sequence[int] | None = None) -> Mapping[int, Label]:
        """What is said of some features of a layer, or of all."""
        chosen = None if indices is None else {int(i) for i in indices}
        if chosen is not None and len(chosen) <= 500:
            some, said = f" AND feature IN ({', '.join('?' * len(chosen))})", (layer, *sorted(chosen))
        else:
            some, said = "", (layer,)
        rows = cast("list[_Row]", self._ask(f"SELECT {_COLUMNS} FROM labels WHERE layer = ?{some}", said))
        mine = self._ask(f"SELECT feature, text FROM own WHERE layer = ?{some}", said)
        own = {cast("int", feature): cast("str", text) for feature, text in mine}
        found = {row[1]: self._label(row, own.get(row[1])) for row in rows if chosen is None or row[1] in chosen}
        alone = {i: text for i, text in own.items() if i not in found and (chosen is None or i in chosen)}
        return found | {i: _persons(Layer(layer), i, text, None) for i, text in alone.items()}

    def names(self, layer: int) -> Mapping[int, tuple[Kind | None, str]]:
        """The kind and the words of each feature of a layer, without what they rest on: quick for all of them."""
        rows = self._ask("SELECT feature, kind, text FROM labels WHERE layer = ?", (layer,))
        found: dict[int, tuple[Kind | None, str]] = {}
        for each, kind, text in cast("list[tuple[int, Kind, str | None]]", rows):
            found[each] = kind, text or ""
        own = self._ask("SELECT feature, text FROM own WHERE layer = ?", (layer,))
        for each, text in cast("list[tuple[int, str]]", own):
            found[each] = found.get(each, (None, ""))[0], text
        return found

    def of_kind(self, kind: Kind) -> Iterator[tuple[Layer, int]]:
        """The features of one kind."""
        for layer, index in self._ask("SELECT layer, feature FROM labels WHERE kind = ? ORDER BY 1, 2", (kind,)):
            yield Layer(cast("int", layer)), cast("int", index)

    def counts(self) -> Mapping[tuple[Layer, Kind, bool], int]:
        """How many features of each layer are of each kind, with and without a name."""
        rows = self._ask("SELECT layer, kind, text IS NOT NULL, count(*) FROM labels GROUP BY 1, 2, 3", ())
        return {
            (Layer(cast("int", layer)), cast("Kind", kind), bool(named)): cast("int", n)
            for layer, kind, named, n in rows
        }

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers whose labels are made."""
        return tuple(
            Layer(cast("int", row[0])) for row in self._ask("SELECT DISTINCT layer FROM labels ORDER BY 1", ())
        )

    def provenances(self) -> Mapping[Layer, Provenance]:
        """What each layer's labels were made with."""
        rows = self._ask("SELECT DISTINCT layer, build FROM labels ORDER BY 1", ())
        return {Layer(cast("int", layer)): self._provenance(cast("int", build)) for layer, build in rows}

    def fits(self, atlas: Atlas) -> bool:
        """Whether its labels were made, and of the transcoders that the atlas is of."""
        made = {each.basis_fingerprint for each in self.provenances().values()}
        return made == {atlas.manifest.plan.basis.fingerprint}

    def own(self) -> list[tuple[int, int, str]]:
        """What people said: layer, feature and text."""
        return cast("list[tuple[int, int, str]]", self._ask("SELECT * FROM own ORDER BY layer, feature", ()))

    def controls(self) -> "Mapping[Layer, Control]":
        """How random directions fared in each layer."""
        rows = cast("list[tuple[int, int, int, int, int]]", self._ask("SELECT * FROM controls ORDER BY layer", ()))
        return {Layer(layer): Control(*figures) for layer, *figures in rows}

    # ------------------------------------------------------------ writing

    def write(
        self, layer: int, labels: Iterable[Label], provenance: Provenance, control: "Control | None" = None
    ) -> None:
        """Put the labels of a layer in the place of those that were there; people's own stay."""
        with self._writing() as connection:
            said = provenance.model_dump_json()
            connection.execute("INSERT OR IGNORE INTO builds (provenance) VALUES (?)", (said,))
            (build,) = connection.execute("SELECT id FROM builds WHERE provenance = ?", (said,)).fetchone()
            connection.execute("DELETE FROM labels WHERE layer = ?", (layer,))
            rows = (_row(label, build) for label in labels)
            marks = ", ".join("?" * len(_COLUMNS.split(",")))
            connection.executemany(f"INSERT INTO labels ({_COLUMNS}) VALUES ({marks})", rows)
            connection.execute("DELETE FROM controls WHERE layer = ?", (layer,))
            if control is not None:
                values = (layer, control.tried, control.input, control.output, control.cross)
                connection.execute("INSERT INTO controls VALUES (?, ?, ?, ?, ?)", values)
            connection.execute("DELETE FROM builds WHERE id NOT IN (SELECT build FROM labels)")

    def slim(self, path: Path) -> None:
        """Write a smaller copy to a new file: of what has no name only its kind, how often it is active, and the name
        that failed; and nothing of what people said."""
        if path.exists():
            raise CallError(f"{str(path)!r} is there already: choose another place, or take it away.")
        partial = path.with_name(f"{path.name}.partial")
        with store.writing(path, kind=WorkError, elsewhere="choose another place."):
            partial.unlink(missing_ok=True)
        with _gone_if_it_fails(partial), LabelBook.create(partial) as smaller, _understood(partial):
            controls, provenances = self.controls(), self.provenances()
            for layer in self.layers:
                labels = (_without_evidence(each) for each in self._made(layer))
                less = provenances[layer].method.removesuffix(_SLIM) + _SLIM  # so that a build makes the rest
                made = provenances[layer].model_copy(update={"method": less})
                smaller.write(layer, labels, made, controls.get(layer))
            smaller._connection.execute("DROP INDEX by_kind")
            smaller._connection.execute("VACUUM")
            smaller._connection.execute("PRAGMA journal_mode = DELETE")
        partial.replace(path)

    def say(self, layer: int, index: int, text: str) -> None:
        """Put a person's own label above whatever rules say."""
        said = check_text(text)
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO own VALUES (?, ?, ?)", (layer, index, said))

    def unsay(self, layer: int, index: int) -> bool:
        """Take a person's label back; False if there was none."""
        with self._writing() as connection:
            gone = connection.execute("DELETE FROM own WHERE layer = ? AND feature = ?", (layer, index))
            return gone.rowcount > 0

    # ------------------------------------------------------------ parts

    def _made(self, layer: Layer) -> Iterator[Label]:
        """The labels of a layer, whatever people said."""
        for row in cast("list[_Row]", self._ask(f"SELECT {_COLUMNS} FROM labels WHERE layer = ?", (layer,))):
            yield self._label(row, None)

    def _label(self, row: _Row, own: str | None) -> Label:
        layer, index, build, kind, text, why, score, low, high, *rest = row
        *nulls, blob = rest
        try:
            evidence = Evidence.model_validate_json(_unpacked(cast("bytes", blob)))
        except (zlib.error, ValidationError) as error:
            raise CacheError(
                f"The evidence of {layer}/{index} in {self.path} cannot be read: it is damaged. Make its layer's "
                f"labels anew: micrographia label --layers {layer}"
            ) from error
        label = Label(
            layer=Layer(layer),
            index=index,
            kind=cast("Kind", kind),
            text=text,
            by="rule",
            why=why,
            score=score,
            interval=None if low is None or high is None else (low, high),
            nulls={name: null for name, null in zip(_NULLS, nulls, strict=True) if null is not None} or None,
            evidence=evidence,
            provenance=self._provenance(build),
        )
        return label if own is None else _persons(label.layer, index, own, label)

    def _provenance(self, build: int) -> Provenance:
        if build not in self._provenances:
            ((said,),) = self._ask("SELECT provenance FROM builds WHERE id = ?", (build,))
            self._provenances[build] = Provenance.model_validate_json(cast("str", said))
        return self._provenances[build]

    def _ask(self, question: str, values: Sequence[object]) -> list[tuple[object, ...]]:
        with _understood(self.path):
            return self._connection.execute(question, values).fetchall()

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        """One transaction: all of it, or nothing."""
        with _understood(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection


def _persons(layer: Layer, index: int, text: str, below: Label | None) -> Label:
    """A person's own label; what rules found stays beside it as evidence, and its score is not theirs."""
    said: By = "person"
    if below is None:
        return Label(layer=layer, index=index, kind=None, text=text, by=said, why="A person's own label.")
    instead = f"rules say: {below.text}" if below.text else "rules name nothing"
    return Label(
        layer=layer,
        index=index,
        kind=below.kind,
        text=text,
        by=said,
        why=f"A person's own label; {instead}.",
        evidence=below.evidence,
        provenance=below.provenance,
    )


def _without_evidence(label: Label) -> Label:
    """As it is if it has a name; else with little of what it rests on."""
    if label.text is not None or label.evidence is None:
        return label
    rest = Evidence(density=label.evidence.density, withdrawn=label.evidence.withdrawn)
    return replace(label, evidence=rest, why=label.why if label.evidence.withdrawn is None else _FAILED)


def _row(label: Label, build: int) -> tuple[object, ...]:
    assert label.kind is not None, "a built label has a kind"
    assert label.evidence is not None, "a built label has evidence"
    low, high = label.interval or (None, None)
    nulls = label.nulls or {}
    blob = _packed(label.evidence)
    head = (label.layer, label.index, build, label.kind, label.text, label.why, label.score, low, high)
    return (*head, *(nulls.get(name) for name in _NULLS), blob)


def _packed(evidence: Evidence) -> bytes:
    """As JSON with four digits, compressed with the names of all fields known beforehand."""
    said = evidence.model_dump(mode="json", exclude_defaults=True)
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY, _NAMES)
    return packer.compress(json.dumps(_rounded(said), separators=(",", ":")).encode()) + packer.flush()


def _unpacked(blob: bytes) -> bytes:
    return zlib.decompressobj(zdict=_NAMES).decompress(blob)


def _rounded(said: object) -> object:
    match said:
        case float():
            return float(f"{said:.4g}")
        case dict():
            return {name: _rounded(value) for name, value in cast("dict[str, object]", said).items()}
        case list():
            return [_rounded(value) for value in cast("list[object]", said)]
        case _:
            return said


def _opened(path: Path, *, to_write: bool = False) -> LabelBook:
    """Connect, and bring an older file up to date. A file that is written to is in WAL mode."""
    with _understood(path):
        connection = _connected(path)
        try:
            version = cast("int", connection.execute("PRAGMA user_version").fetchone()[0])
            if version > len(_MIGRATIONS):
                raise CacheError(
                    f"{path} has schema version {version}, and this Micrographia reads up to {len(_MIGRATIONS)}: "
                    "update Micrographia."
                )
            if to_write or version < len(_MIGRATIONS):
                connection.execute("PRAGMA journal_mode = WAL")
            if version < len(_MIGRATIONS):
                _migrate(connection)
        except BaseException:
            connection.close()
            raise
    return LabelBook(path, connection)


def _connected(path: Path) -> sqlite3.Connection:
    """A connection; where a file in WAL mode has no room for its log beside it, one that only reads."""
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.OperationalError as error:
        connection.close()
        if not any(said in str(error) for said in ("readonly", "unable to open", "disk I/O")):
            raise
        return _sealed(path)
    return connection


def _sealed(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def _migrate(connection: sqlite3.Connection) -> None:
    """Take the steps that are missing. Another process may have taken some while this one waited."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = cast("int", connection.execute("PRAGMA user_version").fetchone()[0])
        for script in _MIGRATIONS[version:]:
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


@contextmanager
def _gone_if_it_fails(partial: Path) -> Generator[None]:
    """Leave nothing of a file that could not be written."""
    try:
        yield
    except BaseException:
        for each in partial.parent.glob(f"{partial.name}*"):
            each.unlink()
        raise


@contextmanager
def _understood(path: Path) -> Generator[None]:
    """What SQLite complains about, in one sentence that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        said = str(error)
        if "locked" in said or "busy" in said:
            raise WorkError(f"Another process is writing to {path}: try again when it is done.") from error
        failing = "readonly" in said or "disk I/O" in said
        if "full" in said or (failing and shutil.disk_usage(path.parent).free < _ROOM):
            raise WorkError(f"Cannot write {path}: the disk is full. Make room, and give the same command.") from error
        if "readonly" in said or "unable to open" in said:
            raise WorkError(f"Cannot write {path}: {said}. Copy the atlas to a folder of your own.") from error
        if failing:
            raise WorkError(
                f"Cannot read or write {path}: {said}. Look after the disk, and give the same command."
            ) from error
        raise CacheError(
            f"{path} cannot be read: {said}. {store.removal_line(path, by='micrographia label')}"
        ) from error
    except sqlite3.DatabaseError as error:
        raise CacheError(
            f"{path} is not a file of labels, or is damaged: {error}. Put it aside, and make labels anew: "
            "micrographia label"
        ) from error
