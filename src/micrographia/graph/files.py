"""A graph on disk: `manifest.json`, which says everything in words, and `tables.safetensors`, which holds the columns.

Written whole or not at all, and the same graph gives the same bytes. A folder is small, so its file is weighed each
time it is opened. Unknown versions and keys are refused; nothing is unpickled.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from micrographia import store
from micrographia.bases.formats.writing import new_folder
from micrographia.errors import CallError, WorkError
from micrographia.graph.graph import Graph, GraphTarget, NodeLabel, Supernode
from micrographia.graph.ledger import Ledger
from micrographia.graph.nodes import NodeId
from micrographia.graph.promoted import Promoted
from micrographia.graph.scores import Scores
from micrographia.graph.tables import EdgeTable, NodeTable
from micrographia.graph.trace import TraceFacts
from micrographia.ids import TokenId
from micrographia.model.tokens import Prompt

__all__ = ["GraphManifest", "columns_of", "graph_from", "load_graph", "manifest_of", "save_graph"]

_SCHEMA = 2
_TABLES = "tables.safetensors"
_FORM = ConfigDict(frozen=True, extra="forbid")
_PROMOTED = ("tokens", "logits", "suppressed", "suppressed_logits")
_DTYPES = {"kind": np.uint8} | dict.fromkeys(
    ("layer", "position", "index", "source", "target", *_PROMOTED[::2]), np.int64
)
_Columns: TypeAlias = Mapping[str, np.ndarray]


def _any_text(value: object) -> str:
    """Any text, half characters included, which are no Unicode and which a foreign file may hold all the same."""
    if not isinstance(value, str):
        raise ValueError(f"must be a text, and is {type(value).__name__}")
    return value


def _any_object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"must be an object, and is {type(value).__name__}")
    return cast("dict[str, object]", value)


_Text: TypeAlias = Annotated[str, PlainValidator(_any_text)]
_Object: TypeAlias = Annotated[dict[str, object], PlainValidator(_any_object)]


class _PromptRecord(BaseModel):
    model_config = _FORM

    ids: tuple[int, ...]
    pieces: tuple[_Text, ...]
    text: _Text
    prepended: int = Field(ge=0)


class _TargetRecord(BaseModel):
    model_config = _FORM

    name: _Text
    position: int
    weight: float
    probability: float | None
    token: int | None


class _SupernodeRecord(BaseModel):
    model_config = _FORM

    name: _Text
    members: tuple[str, ...]
    reason: _Text
    by: _Text


class _LabelRecord(BaseModel):
    model_config = _FORM

    text: _Text
    kind: _Text
    score: float | None
    by: _Text
    agrees: bool | None


class GraphManifest(BaseModel):
    """The file `manifest.json` of a graph."""

    model_config = _FORM

    schema_version: Literal[2] = _SCHEMA
    kind: Literal["graph"] = "graph"
    prompt: _PromptRecord
    targets: tuple[_TargetRecord, ...]
    n_layers: int = Field(ge=0)
    node_share: float | None
    edge_share: float | None
    scores: Scores | None
    ledger: Ledger | None
    facts: TraceFacts | None
    supernodes: tuple[_SupernodeRecord, ...]
    labels: dict[str, _LabelRecord]
    """Of nodes, by their names."""
    pieces: dict[int, _Text] | None
    """Of the promoted and suppressed tokens; None where features do not say what they promote."""
    foreign: _Object
    files: tuple[store.FileRecord, ...]


def save_graph(graph: Graph, folder: Path) -> None:
    """Write a graph as a folder, which must not be there yet."""
    with new_folder(folder) as partial:
        with store.atomic_file(partial / _TABLES) as stream:
            stream.write(save(columns_of(graph)))
        manifest = manifest_of(graph, store.record_file(partial / _TABLES))
        with store.atomic_file(partial / store.MANIFEST) as stream:
            stream.write((json.dumps(manifest.model_dump(), indent=1) + "\n").encode("ascii"))


def load_graph(folder: str | Path) -> Graph:
    """Open a graph. What is damaged, cut short, or edited by hand is refused in one sentence."""
    folder = Path(folder)
    manifest = _read_manifest(folder)
    columns = _read_columns(folder, manifest.files)
    try:
        return graph_from(manifest, columns)
    except CallError as error:
        raise WorkError(f"{folder} holds no whole graph: {error}") from error


# ---------------------------------------------------------------- writing


def columns_of(graph: Graph) -> dict[str, np.ndarray]:
    """The graph's tables, column by column."""
    columns = {f"nodes.{each.name}": getattr(graph.nodes, each.name) for each in fields(graph.nodes)}
    columns |= {f"edges.{each.name}": getattr(graph.edges, each.name) for each in fields(graph.edges)}
    if graph.promoted is not None:
        columns |= {f"promoted.{name}": getattr(graph.promoted, name) for name in _PROMOTED}
    return {name: np.ascontiguousarray(column) for name, column in sorted(columns.items())}


def manifest_of(graph: Graph, *files: store.FileRecord) -> GraphManifest:
    """Everything else about it."""
    p = graph.prompt
    return GraphManifest(
        prompt=_PromptRecord(ids=p.ids, pieces=p.pieces, text=p.text, prepended=p.prepended),
        targets=tuple(
            _TargetRecord(
                name=each.name,
                position=each.position,
                weight=each.weight,
                probability=each.probability,
                token=each.token,
            )
            for each in graph.targets
        ),
        n_layers=graph.n_layers,
        node_share=graph.node_share,
        edge_share=graph.edge_share,
        scores=graph.scores,
        ledger=graph.ledger,
        facts=graph.facts,
        supernodes=tuple(
            _SupernodeRecord(name=each.name, members=tuple(map(str, each.members)), reason=each.reason, by=each.by)
            for each in graph.supernodes
        ),
        labels={str(name): _LabelRecord(**asdict(label)) for name, label in sorted(graph.labels.items(), key=str)},
        pieces=None if graph.promoted is None else dict(sorted(graph.promoted.pieces.items())),
        foreign=dict(graph.foreign),
        files=files,
    )


# ---------------------------------------------------------------- reading


def _read_manifest(folder: Path) -> GraphManifest:
    path = folder / store.MANIFEST
    try:
        raw: object = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CallError(f"{folder} is no graph: it has no {path.name}. Give a folder that was saved.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise WorkError(f"{path} cannot be read: {error}. It is damaged, or cut short.") from error
    known = cast("dict[str, object]", raw) if isinstance(raw, dict) else {}
    if known.get("kind") != "graph":
        raise CallError(f"{folder} is no graph: its {path.name} is of the kind {known.get('kind')!r}.")
    if known.get("schema_version") != _SCHEMA:
        raise WorkError(
            f"{path} has schema version {known.get('schema_version')!r}, and this Micrographia reads version "
            f"{_SCHEMA}: trace its prompt anew, or update Micrographia."
        )
    try:
        return GraphManifest.model_validate(raw)
    except ValidationError as error:
        raise WorkError(f"{path} cannot be understood ({store.complaints(error)}).") from error


def _read_columns(folder: Path, records: tuple[store.FileRecord, ...]) -> _Columns:
    path = folder / _TABLES
    if [record.name for record in records] != [_TABLES]:
        raise WorkError(f"{folder / store.MANIFEST} must weigh {_TABLES}, and nothing else.")
    try:
        size = path.stat().st_size
        if size != records[0].size:
            raise WorkError(f"{path} is damaged: it has {size} bytes, and had {records[0].size} when written.")
        if store.record_file(path) != records[0]:
            raise WorkError(f"{path} is damaged or edited: its SHA-256 is not the one in the {store.MANIFEST}.")
        return load(path.read_bytes())
    except OSError as error:
        raise WorkError(f"{path} cannot be read: {error.strerror}.") from error
    except (SafetensorError, ValueError) as error:
        raise WorkError(f"{path} is no safetensors file: {error}.") from error


def graph_from(manifest: GraphManifest, columns: Mapping[str, np.ndarray]) -> Graph:
    """The graph from its parts, if they fit together."""
    p, pieces = manifest.prompt, manifest.pieces
    parts = {"nodes": [each.name for each in fields(NodeTable)], "edges": [each.name for each in fields(EdgeTable)]}
    parts["promoted"] = [] if pieces is None else list(_PROMOTED)
    wanted = {f"{part}.{name}" for part, names in parts.items() for name in names}
    if wanted != set(columns):
        listed = ", ".join(sorted(wanted ^ set(columns)))
        raise CallError(f"{_TABLES} and the {store.MANIFEST} disagree on {listed}.")
    taken = {part: {name: _taken(f"{part}.{name}", columns) for name in names} for part, names in parts.items()}
    for part, found in taken.items():
        if len({column.shape for column in found.values()}) > 1:
            raise CallError(f"The columns of the {part} differ in length.")
    graph = Graph(
        prompt=Prompt(tuple(map(TokenId, p.ids)), p.pieces, p.text, p.prepended),
        targets=tuple(
            GraphTarget(each.name, each.position, each.weight, each.probability, each.token)
            for each in manifest.targets
        ),
        nodes=NodeTable(**taken["nodes"]),
        edges=EdgeTable(**taken["edges"]),
        n_layers=manifest.n_layers,
        node_share=manifest.node_share,
        edge_share=manifest.edge_share,
        scores=manifest.scores,
        ledger=manifest.ledger,
        facts=manifest.facts,
        promoted=None if pieces is None else Promoted(**taken["promoted"], pieces=pieces),
        supernodes=tuple(
            Supernode(each.name, tuple(map(NodeId.parse, each.members)), each.reason, each.by)
            for each in manifest.supernodes
        ),
        labels={NodeId.parse(name): NodeLabel(**label.model_dump()) for name, label in manifest.labels.items()},
        foreign=manifest.foreign,
    )
    if wrong := _disagreement(graph):
        raise CallError(f"{wrong}.")
    return graph.grouped(graph.supernodes)


def _taken(name: str, columns: _Columns) -> np.ndarray:
    column, wanted = columns[name], _DTYPES.get(name.split(".")[1], np.float64)
    if column.dtype != wanted or column.ndim != 1 + name.startswith("promoted."):
        raise CallError(f"{name} has {column.ndim} axes of {column.dtype}.")
    return column


def _disagreement(graph: Graph) -> str | None:
    """What in a graph does not fit together; its file was written by another hand."""
    n, e, n_tokens = graph.nodes, graph.edges, len(graph.prompt)
    if len(graph.prompt.pieces) != n_tokens or not ((n.position >= -1) & (n.position < n_tokens)).all():
        return "its nodes lie outside its prompt"
    target = n.spans["target"]
    if not np.array_equal(n.index[target], np.arange(len(graph.targets))):
        return "its targets are not those of its table"
    if len(e) and not (0 <= min(e.source.min(), e.target.min()) <= max(e.source.max(), e.target.max()) < len(n)):
        return "an edge leads to a node that is not there"
    p = graph.promoted
    if p is not None and len(p.tokens) != n.spans["feature"].stop:
        return "not every feature says what it promotes"
    if p is not None and not {*p.tokens.flat, *p.suppressed.flat} <= set(p.pieces):
        return "a promoted token has no text"
    return None
