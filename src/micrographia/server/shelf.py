"""The graphs beneath one folder: found, listed, opened, added to.

A graph goes by an id that is made from its place; the id is looked up among what was found, and never becomes part of
a path.
"""

import hashlib
import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, final

from micrographia import store
from micrographia.errors import CallError, MicrographiaError
from micrographia.evidence.claims import Claim, claims_of
from micrographia.evidence.evidence import Evidence
from micrographia.evidence.files import EVIDENCE, load_evidence, save_evidence
from micrographia.evidence.links import links_of
from micrographia.graph.files import GraphManifest, load_graph, manifest_of, save_graph
from micrographia.graph.graph import Graph, Supernode
from micrographia.graph.imported import graph_of_json, import_graph
from micrographia.graph.nodes import NodeId
from micrographia.report.wire.live import CountsRecord, GraphList, GraphRow, GroupRequest
from micrographia.server.jobs import NotHereError

__all__ = ["Regrouped", "Shelf", "Volume"]

_DEEPEST = 5
_MOST, _FOLDERS = 500, 5000
_LARGEST = 300_000_000
"""Bytes of a JSON file that is looked into."""
_HEAD = 4096
_OPEN = 4
"""Graphs that are held open."""
_MARKS = (b'"metadata"', b'"qParams"', b'"nodes"')
_FOLDER_MARK = b'"kind": "graph"'


@dataclass(frozen=True, slots=True)
class Volume:
    """One graph of the shelf, not yet opened."""

    id: str
    path: Path
    kind: Literal["folder", "json"]
    stamp: tuple[int, ...]
    """When its files were written, and how long they are: another stamp is another content."""


@dataclass(frozen=True, slots=True)
class Regrouped:
    """What became of a graph whose groups were changed."""

    graph: Graph
    forgotten: tuple[str, ...]
    """Claims that are no longer made, though they were measured."""


@final
class Shelf:
    """A folder with graphs, or one graph. Those that are traced from the page are kept in the folder."""

    def __init__(self, place: Path) -> None:
        if not place.exists():
            raise CallError(f"There is no {str(place)!r}: give a folder with graphs, a graph, or a graph's JSON.")
        alone = place.is_file() or _is_graph_folder(place)
        self.folder = (place.parent if alone else place).absolute()
        self._only: list[Path] | None = [place.absolute()] if alone else None
        self._lock = threading.RLock()
        self._open: OrderedDict[str, tuple[tuple[int, ...], Graph]] = OrderedDict()
        self._known: OrderedDict[str, tuple[tuple[int, ...], Evidence | None]] = OrderedDict()
        self._rows: dict[str, tuple[tuple[int, ...], GraphRow]] = {}
        if alone:
            self.graph(self.volumes()[0][0].id)

    # ------------------------------------------------------------ asking

    def volumes(self) -> tuple[tuple[Volume, ...], int]:
        """What is there now, and how many folders were not looked into."""
        if self._only is not None:
            return tuple(found for path in self._only if (found := self._volume(path)) is not None), 0
        search = _Search(self.folder)
        found = (self._volume(path) for path in search.paths())
        return tuple(each for each in found if each is not None), search.passed_over

    def list(self) -> GraphList:
        """One row for each graph."""
        volumes, passed_over = self.volumes()
        return GraphList(graphs=tuple(self._row(volume) for volume in volumes), passed_over=passed_over)

    def volume(self, name: str) -> Volume:
        """The one of this id."""
        for volume in self.volumes()[0]:
            if volume.id == name:
                return volume
        raise NotHereError("There is no such graph here. It may have been moved or deleted since.")

    def graph(self, name: str) -> Graph:
        """The graph of this id, opened, or still open."""
        volume = self.volume(name)
        with self._lock:
            known = self._open.get(name)
            if known is not None and known[0] == volume.stamp:
                self._open.move_to_end(name)
                return known[1]
        graph = load_graph(volume.path) if volume.kind == "folder" else import_graph(volume.path)
        with self._lock:
            self._open[name] = volume.stamp, graph
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return graph

    def evidence(self, name: str) -> Evidence | None:
        """What is known about its claims. All that it predicts is computed once, as long as the graph is open."""
        return self._evidence(self.volume(name), self.graph(name))

    # ------------------------------------------------------------ changing

    def add(self, graph: Graph) -> str:
        """Keep a new graph, in a folder of its own that is named after its prompt; its id."""
        with self._lock:
            folder = _free(self.folder / _slug(graph.prompt.text))
            save_graph(graph, folder)
            if self._only is not None:
                self._only.append(folder)
        return self._id(folder)

    def take(self, content: object) -> str:
        """Keep a graph that came as another tool's JSON; its id."""
        return self.add(graph_of_json(content))

    def regroup(self, name: str, groups: Sequence[GroupRequest]) -> Regrouped:
        """Give a graph other groups. Evidence stays with the claims that are still made, whatever they are called."""
        volume = self.volume(name)
        if volume.kind != "folder":
            raise CallError(
                f"{volume.path.name} is another tool's file, which is not written to. Make a graph of ours from it: "
                "micrographia convert FILE FOLDER"
            )
        with self._lock:
            graph, known = self.graph(name), self.evidence(name)
            before = {group.members: group for group in graph.supernodes}
            new = graph.grouped(_supernode(group, before) for group in groups)
            _rewrite(new, volume.path)
            if known is None:
                return Regrouped(new, ())
            changed, forgotten = _still_known(known, new)
            save_evidence(changed, volume.path)
            return Regrouped(new, forgotten)

    # ------------------------------------------------------------ parts

    def _id(self, path: Path) -> str:
        said = os.path.relpath(path, self.folder)
        return hashlib.sha256(os.fsencode(said)).hexdigest()[:16]

    def _volume(self, path: Path) -> Volume | None:
        """What lies there, if it is a graph; None if it is gone."""
        folder = path.is_dir()
        files = [path / store.MANIFEST, path / EVIDENCE] if folder else [path]
        try:
            weights = [(one.st_mtime_ns, one.st_size) for file in files if file.is_file() and (one := file.stat())]
        except OSError:
            return None
        if not weights:
            return None
        stamp = tuple(number for weight in weights for number in weight)
        return Volume(self._id(path), path, "folder" if folder else "json", stamp)

    def _evidence(self, volume: Volume, graph: Graph) -> Evidence | None:
        if volume.kind != "folder":
            return None
        with self._lock:
            known = self._known.get(volume.id)
        if known is not None and known[0] == volume.stamp:
            return known[1]
        found = load_evidence(graph, volume.path)
        with self._lock:
            self._known[volume.id] = volume.stamp, found
            while len(self._known) > _OPEN:
                self._known.popitem(last=False)
        return found

    def _row(self, volume: Volume) -> GraphRow:
        with self._lock:
            known = self._rows.get(volume.id)
        if known is not None and known[0] == volume.stamp:
            return known[1]
        try:
            row = self._described(volume)
        except MicrographiaError as error:
            row = self._empty(volume, str(error))
        with self._lock:
            self._rows[volume.id] = volume.stamp, row
        return row

    def _described(self, volume: Volume) -> GraphRow:
        graph = load_graph(volume.path) if volume.kind == "folder" else import_graph(volume.path)
        evidence = self._evidence(volume, graph)
        facts = graph.facts
        return self._empty(volume, None).model_copy(
            update={
                "prompt": graph.prompt.text,
                "targets": tuple(target.name for target in graph.targets),
                "model": "" if facts is None else facts.model,
                "basis": "" if facts is None else facts.basis,
                "n_nodes": len(graph.nodes),
                "n_edges": len(graph.edges),
                "evidence": None if evidence is None else CountsRecord(**evidence.counts),
            }
        )

    def _empty(self, volume: Volume, error: str | None) -> GraphRow:
        return GraphRow(
            id=volume.id,
            name=os.path.relpath(volume.path, self.folder),
            prompt="",
            targets=(),
            model="",
            basis="",
            n_nodes=0,
            n_edges=0,
            evidence=None,
            kept=volume.kind == "folder",
            error=error,
        )


class _Search:
    """Looks for graphs beneath a folder; follows no link, and looks into no hidden folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.passed_over = 0

    def paths(self) -> Iterator[Path]:
        found = 0
        for visited, (place, folders, files) in enumerate(os.walk(self._folder)):
            here = Path(place)
            depth = len(here.relative_to(self._folder).parts)
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "node_modules")
            if depth and _is_graph_folder(here):
                folders.clear()
                found += 1
                yield here
            else:
                for name in sorted(files):
                    if name.endswith(".json") and not (here / name).is_symlink() and _is_graph_file(here / name):
                        found += 1
                        yield here / name
            if folders and (depth >= _DEEPEST or found >= _MOST or visited >= _FOLDERS):
                self.passed_over += len(folders)
                folders.clear()


def _is_graph_folder(path: Path) -> bool:
    return _FOLDER_MARK in _head(path / store.MANIFEST)


def _is_graph_file(path: Path) -> bool:
    head = _head(path)
    return head.lstrip().startswith(b"{") and any(mark in head for mark in _MARKS) and path.stat().st_size <= _LARGEST


def _head(path: Path) -> bytes:
    """The first bytes of a file; none, where there is no file that can be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError:
        return b""


def _rewrite(graph: Graph, folder: Path) -> None:
    """A graph's manifest with other groups; its tables stay, and so does their weight."""
    path = folder / store.MANIFEST
    before = GraphManifest.model_validate_json(path.read_bytes())
    with store.atomic_file(path) as stream:
        stream.write((json.dumps(manifest_of(graph, *before.files).model_dump(), indent=1) + "\n").encode("ascii"))


def _still_known(known: Evidence, graph: Graph) -> tuple[Evidence, tuple[str, ...]]:
    """What is known about the claims that a graph with other groups still makes, and which claims it makes no more."""
    claims = claims_of(graph, known.target)
    links = links_of(graph, claims)
    measured = {_about(claim): known.measured.get(claim.key) for claim in (*known.claims, *known.links)}
    made = {_about(claim): claim.key for claim in (*claims, *links)}
    kept = {key: one for about, key in made.items() if (one := measured.get(about)) is not None}
    gone = (
        claim.key for claim in (*known.claims, *known.links) if measured[_about(claim)] and _about(claim) not in made
    )
    return replace(known, claims=claims, links=links, measured=kept), tuple(gone)


def _about(claim: Claim) -> tuple[object, ...]:
    """What a claim says, whatever its parts are called."""
    return claim.kind, claim.members, claim.reads, claim.target


def _supernode(group: GroupRequest, before: dict[tuple[NodeId, ...], Supernode]) -> Supernode:
    """A group as it was, if it is the same one; else a person's."""
    members = tuple(NodeId.parse(member) for member in group.members)
    known = before.get(members)
    if known is not None and (known.name, known.reason) == (group.name, group.reason):
        return known
    return Supernode(group.name, members, group.reason, "user")


def _slug(text: str) -> str:
    """A folder's name after a prompt: `the-capital-of-france-is`."""
    words = re.findall(r"[a-z0-9]+", text.lower().encode("ascii", "ignore").decode())
    return "-".join(words)[:48].strip("-") or "graph"


def _free(folder: Path) -> Path:
    """This name, or with the first number that is free."""
    number, tried = 2, folder
    while tried.exists():
        tried = folder.with_name(f"{folder.name}-{number}")
        number += 1
    return tried
