"""From the record of a source to its documents, one after the other."""

import gzip
import hashlib
import json
import os
import sys
import sysconfig
import tokenize
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Protocol, TypeAlias, assert_never, cast, runtime_checkable

from micrographia.corpus.documents import Document, decoded, documents_of, lines_of
from micrographia.corpus.formats import articles, conversations
from micrographia.corpus.packages import Carrier, Member, download_line, find_package, packages_dir
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
from micrographia.corpus.sampling import sampled
from micrographia.errors import CallError, OfflineError, WorkError
from micrographia.model.model import Model

__all__ = ["ModelMaker", "Reading", "Surroundings", "open_sources"]

ModelMaker: TypeAlias = Callable[[], Model]
"""Opens the model, if it comes to that."""

_NO_TEXT = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test", "lib2to3", "encodings"}
"""Folders of the standard library that are left out: foreign packages, tests, grammars, tables of characters."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a source needs besides its record."""

    longest: int
    packages: tuple[Path, ...] = ()
    """Folders with wheels, searched before the cache's."""
    model: ModelMaker | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A source that was found, and can be read as often as one likes."""

    version: str
    total: int
    """Where the `place` of its last document may come to."""
    documents: Callable[[int], Iterator[Document]]
    """Its documents from a number on."""
    rereads: bool = True
    """Whether the documents before that number are read anyway, so that they can as well be looked at again."""


def open_sources(recipe: Recipe, around: Surroundings) -> tuple[Reading, ...]:
    """Find every source before anything is read; all missing packages are named at once."""
    folders = (*around.packages, packages_dir())
    carriers = {s.name: find_package(s, folders) for s in recipe.sources if isinstance(s, Package)}
    missing = [s for s in recipe.sources if isinstance(s, Package) and carriers[s.name] is None]
    if missing:
        names = ", ".join(package.package for package in missing)
        raise CallError(
            f"Not installed, and no wheel in {' or '.join(map(str, folders))}: {names}. "
            f"Get the text, without installing anything: {download_line(missing, folders[0])}"
        )
    return tuple(_opened(source, around, carriers.get(source.name)) for source in recipe.sources)


def _opened(source: Source, around: Surroundings, carrier: Carrier | None) -> Reading:
    match source.kind:
        case "text":
            return _text_files(source, around.longest)
        case "jsonl":
            return _json_lines(source, around.longest)
        case "parquet":
            return _parquet(source, around.longest)
        case "package":
            assert carrier is not None, "what is missing was named before"
            return _package(source, carrier, around.longest)
        case "stdlib":
            return _standard_library(source, around.longest)
        case "hub":
            return _hub(source, around.longest)
        case "on-policy":
            return _on_policy(source, around.model)
        case _:
            assert_never(source.kind)


def _mixed(names: Iterable[str]) -> list[str]:
    """Names in a mixed order that a further name does not change: the first of them are a fair sample."""
    return sorted(names, key=lambda name: hashlib.blake2b(name.encode(errors="surrogateescape")).digest())


def _from(start: int, documents: Callable[[], Iterable[Document]]) -> Iterator[Document]:
    return islice(documents(), start, None)


# ---------------------------------------------------------------- files


def _text_files(source: TextFiles, longest: int) -> Reading:
    files = _files_below(source.path, source.suffixes)

    def documents() -> Iterator[Document]:
        for place, name in enumerate(_mixed(files)):
            try:
                with files[name].open("rb") as stream:
                    blocks = decoded(stream, str(files[name]))
                    yield from documents_of(name, blocks, longest, together=source.keep_together, place=place)
            except OSError as error:
                raise _unreadable(files[name], error) from error

    return Reading("", len(files), partial(_from, documents=documents))


def _files_below(path: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The readable files of a folder by their path in it, or the one file."""
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise CallError(f"There is no file or folder {str(path)!r}.")
    files = [path / name for name in _walked(path)]
    found = {file.relative_to(path).as_posix(): file for file in files if file.suffix.lower() in suffixes}
    if not found:
        others = Counter(file.suffix or "no suffix" for file in files).most_common(5)
        there = ", ".join(f"{n} × {suffix}" for suffix, n in others) or "nothing"
        raise CallError(f"{str(path)!r} holds no file that ends in {', '.join(suffixes)}. It holds {there}.")
    return found


def _walked(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename or folder), error) from error

    for place, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            if (file := Path(place) / name).is_file():
                yield file.relative_to(folder)


def _unreadable(path: Path, error: OSError) -> CallError:
    return CallError(f"{str(path)!r} cannot be read: {error.strerror or error}.")


def _json_lines(source: JsonLines, longest: int) -> Reading:
    path = source.path
    if not path.is_file():
        raise CallError(f"There is no file {str(path)!r}.")

    def documents() -> Iterator[Document]:
        try:
            with path.open("rb") as raw:
                stream = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
                for number, line in enumerate(lines_of(decoded(stream, str(path))), 1):
                    if line.strip():
                        text = _field(line, source.field, f"{path}, line {number}")
                        yield from documents_of(f"{path.name}:{number}", [text], longest, place=raw.tell())
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise WorkError(f"{path} is not a whole gzip file: {error}.") from error
        except OSError as error:
            raise _unreadable(path, error) from error

    return Reading("", path.stat().st_size, partial(_from, documents=documents))


def _field(line: str, field: str, where: str) -> str:
    try:
        row: object = json.loads(line)
    except ValueError as error:
        raise WorkError(f"{where} is not JSON: {error}.") from error
    if not isinstance(row, dict):
        raise WorkError(f"{where} is not an object, but {line[:40]!r}.")
    return _text_in(cast("dict[str, object]", row), field, where)


def _text_in(row: Mapping[str, object], field: str, where: str) -> str:
    if field not in row:
        raise WorkError(f"{where} has no {field!r}; it has {', '.join(map(repr, row)) or 'nothing'}.")
    value = row[field]
    if not isinstance(value, str):
        raise WorkError(f"{where}: {field!r} is {type(value).__name__}, not text.")
    return value


# ---------------------------------------------------------------- packages


def _package(source: Package, carrier: Carrier, longest: int) -> Reading:
    members = {member.name: member for member in carrier.members}

    def documents() -> Iterator[Document]:
        for place, name in enumerate(_mixed(members)):
            yield from _member(source, members[name], longest, place)

    return Reading(carrier.version, len(members), partial(_from, documents=documents))


def _member(source: Package, member: Member, longest: int, place: int) -> Iterator[Document]:
    with member.open() as stream:
        blocks = decoded(stream, member.where)
        match source.format:
            case "text":
                yield from documents_of(member.name, blocks, longest, together=source.keep_together, place=place)
                return
            case "wikitext":
                parts = articles(blocks)
            case "chitchat":
                parts = conversations(blocks, member.where)
            case _:
                assert_never(source.format)
        for title, text in parts:
            name = f"{member.name}/{title}"
            yield from documents_of(name, [text], longest, together=source.keep_together, place=place)


def _standard_library(source: StandardLibrary, longest: int) -> Reading:
    folder = Path(sysconfig.get_path("stdlib"))
    files = {name.as_posix(): folder / name for name in _walked(folder) if _is_library(name)}
    if not files:
        raise CallError(f"This Python keeps no sources of its library in {folder}.")

    def documents() -> Iterator[Document]:
        for place, name in enumerate(_mixed(files)):
            try:
                with tokenize.open(files[name]) as stream:
                    yield from documents_of(name, [stream.read()], longest, together=source.keep_together, place=place)
            except (OSError, SyntaxError, UnicodeDecodeError) as error:
                raise WorkError(f"{files[name]} cannot be read: {error}.") from error

    return Reading("Python " + sys.version.split()[0], len(files), partial(_from, documents=documents))


def _is_library(name: Path) -> bool:
    return name.suffix == ".py" and not _NO_TEXT.intersection(name.parts) and not name.parts[0].startswith("config-")


# ---------------------------------------------------------------- other people's libraries


@runtime_checkable
class _Column(Protocol):
    def to_pylist(self) -> list[object]: ...


@runtime_checkable
class _RowGroups(Protocol):
    """What is used of pyarrow's `ParquetFile`."""

    schema_arrow: Iterable[object]

    def iter_batches(self, *, batch_size: int, columns: list[str]) -> Iterable[Sequence[_Column]]: ...
    def close(self) -> None: ...


def _parquet(source: Parquet, longest: int) -> Reading:
    path = source.path
    if not path.is_file():
        raise CallError(f"There is no file {str(path)!r}.")
    if find_spec("pyarrow") is None:
        raise CallError(f"Reading {path} needs pyarrow, which is not installed: pip install 'micrographia[parquet]'")
    opened = import_module("pyarrow.parquet").ParquetFile
    failure = cast("type[Exception]", import_module("pyarrow").ArrowException)

    def open_file() -> _RowGroups:
        try:
            return cast("_RowGroups", opened(path))
        except (failure, OSError) as error:
            raise WorkError(f"{path} is not a Parquet file that can be read: {error}.") from error

    names = [str(getattr(field, "name", field)) for field in open_file().schema_arrow]
    if source.column not in names:
        raise CallError(f"{path} has no column {source.column!r}; it has {', '.join(map(repr, names))}.")

    def documents() -> Iterator[Document]:
        batches = open_file().iter_batches(batch_size=256, columns=[source.column])
        try:
            for number, value in enumerate(chain.from_iterable(batch[0].to_pylist() for batch in batches)):
                text = _text_in({source.column: value}, source.column, f"{path}, row {number}")
                yield from documents_of(f"{path.name}:{number}", [text], longest, place=number)
        except (failure, OSError) as error:
            raise WorkError(f"{path} cannot be read to its end: {error}.") from error

    return Reading("", 0, partial(_from, documents=documents))


def _hub(source: HubDataset, longest: int) -> Reading:
    if find_spec("datasets") is None:
        raise CallError(
            f"Reading {source.dataset} needs datasets, which is not installed: pip install 'micrographia[hub]'"
        )
    load = cast("Callable[..., Iterable[Mapping[str, object]]]", import_module("datasets").load_dataset)

    def documents() -> Iterator[Document]:
        try:
            rows = load(source.dataset, source.config, split=source.split, revision=source.revision, streaming=True)
            for number, row in enumerate(rows):
                where = f"{source.dataset}, row {number}"
                text = _text_in(row, source.column, where)
                yield from documents_of(f"{source.dataset}:{number}", [text], longest, place=number)
        except (OSError, ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise OfflineError(
                f"The dataset {source.dataset} cannot be had ({reason}). Check its name and the network, or leave the "
                "source out of the recipe; text files and packages need no network."
            ) from error

    return Reading(source.revision or "newest", 0, partial(_from, documents=documents))


def _on_policy(source: OnPolicy, make: ModelMaker | None) -> Reading:
    if make is None:
        raise CallError("A recipe with on-policy text needs the model that writes it: build(..., model=lambda: model).")

    def documents(start: int) -> Iterator[Document]:
        return sampled(source, make(), start)

    return Reading("", source.documents, documents, rereads=False)
