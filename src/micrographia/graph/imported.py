"""A graph from the JSON of circuit-tracer and Neuronpedia: ours comes back whole, another tool's as far as it goes.

Nodes are told apart by `feature_type`, never by their ids: circuit-tracer 0.5.0 calls the error of layer l at position
p `0_l_p`, which is also the name of feature l of layer 0. Another tool's file knows only what it shows, so shares of
inputs are shares of what is shown, and influence is what flows through that.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import torch
from pydantic import ValidationError

from micrographia import store
from micrographia.errors import CallError, WorkError
from micrographia.graph.check import Report, check_graph, read_graph_json, uncantor
from micrographia.graph.exchange import COLUMNS, EXTRA, graph_json
from micrographia.graph.files import GraphManifest, graph_from
from micrographia.graph.flow import influence
from micrographia.graph.graph import Graph, GraphTarget, NodeLabel, Supernode
from micrographia.graph.nodes import Kind, NodeId
from micrographia.graph.tables import EdgeTable, NodeTable
from micrographia.ids import TokenId
from micrographia.model.pieces import shown
from micrographia.model.tokens import Prompt

__all__ = ["graph_of_json", "import_graph"]

_Record: TypeAlias = Mapping[str, object]
_KINDS = {
    "cross layer transcoder": Kind.FEATURE,
    "mlp reconstruction error": Kind.ERROR,
    "embedding": Kind.TOKEN,
    "logit": Kind.TARGET,
}
_ELSEWHERE = "another tool"
_BLOCKING = ("form", "type", "ctx", "dangling", "repeated", "upwards", "no logit")
"""The rules without which a file cannot be read; the others only make it hard for other tools."""
_CLERP = re.compile(r'Output "(?P<token>.*)" \(p=(?P<p>[0-9.eE+-]+)\)\s*', re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Named:
    """A node of the file, understood."""

    raw: _Record
    kind: Kind
    layer: int
    position: int
    index: int
    node_id: str

    @property
    def place(self) -> tuple[int, int, int, int]:
        return int(self.kind), self.layer, self.position, self.index


def import_graph(path: str | Path) -> Graph:
    """Read a graph's JSON from a file."""
    path = Path(path)
    content = read_graph_json(path)
    try:
        return graph_of_json(content)
    except CallError as error:
        raise WorkError(f"{path} holds no graph that can be read: {error}") from error


def graph_of_json(content: object) -> Graph:
    """The graph in a file's JSON."""
    _refuse(check_graph(content))
    file = cast("dict[str, object]", content)
    metadata = cast("dict[str, object]", file["metadata"])
    raw = cast("list[_Record]", file["nodes"])
    links = _resolved(raw, cast("list[_Record]", file["links"]))
    named = list(_understood(raw))
    order = sorted(range(len(named)), key=lambda i: named[i].place)
    number = {i: at for at, i in enumerate(order)}
    nodes = [named[i] for i in order]
    if len({node.place for node in nodes}) != len(nodes):
        raise CallError("A node is in it twice.")
    edges = sorted(((number[target], number[source], link) for target, source, link in links), key=lambda e: e[:2])
    if len({edge[:2] for edge in edges}) != len(edges):
        raise CallError("A link is in it twice.")
    if EXTRA in metadata:
        return _own(nodes, edges, metadata[EXTRA], file)
    return _with_foreign(_foreign(nodes, edges, file), nodes, edges, file)


def _refuse(report: Report) -> None:
    for finding in report.findings:
        if finding.level == "error" and finding.rule.split(" ")[0] in {rule.split(" ")[0] for rule in _BLOCKING}:
            raise CallError(str(finding) + ".")


# ---------------------------------------------------------------- nodes and links


def _understood(raw: Sequence[_Record]) -> Iterator[_Named]:
    targets = 0
    for node in raw:
        kind, position = _KINDS[str(node["feature_type"])], cast("int", node["ctx_idx"])
        node_id = str(node["node_id"])
        match kind:
            case Kind.FEATURE:
                layer = int(cast("str", node["layer"]))
                yield _Named(node, kind, layer, position, _feature(node, layer), node_id)
            case Kind.ERROR:
                yield _Named(node, kind, int(cast("str", node["layer"])), position, -1, node_id)
            case Kind.TOKEN:
                found = re.fullmatch(r"E_(\d{1,18})_\d+", node_id)
                yield _Named(node, kind, -1, position, -1 if found is None else int(found[1]), node_id)
            case _:
                yield _Named(node, kind, -1, position, targets, node_id)
                targets += 1


def _feature(node: _Record, layer: int) -> int:
    """A feature's index: from the pair, or where that is of another layer, from the id."""
    pair = node["feature"]
    if isinstance(pair, int) and pair >= 0 and uncantor(pair)[0] == layer:
        return uncantor(pair)[1]
    parts = str(node["node_id"]).split("_")
    if len(parts) == 3 and re.fullmatch(r"\d{1,18}", parts[1]):
        return int(parts[1])
    raise CallError(f"Nothing tells which feature of layer {layer} the node {node['node_id']!r} is.")


def _resolved(raw: Sequence[_Record], links: Sequence[_Record]) -> list[tuple[int, int, _Record]]:
    """Each link as (target, source, link), by numbers of nodes.

    Where an id names a feature and an error, a link to it means the feature, for errors have no inputs. A link from it
    is told by its place, if the target's other links stand in the order of the nodes, as circuit-tracer writes them.
    """
    by_id: dict[str, list[int]] = {}
    for i, node in enumerate(raw):
        by_id.setdefault(str(node["node_id"]), []).append(i)
    by_target: dict[int, list[tuple[list[int], _Record]]] = {}
    for link in links:
        targets = by_id[str(link["target"])]
        target = next((i for i in targets if raw[i]["feature_type"] != "mlp reconstruction error"), targets[0])
        by_target.setdefault(target, []).append((by_id[str(link["source"])], link))
    return [
        (target, source, link)
        for target, inputs in by_target.items()
        for source, (_, link) in zip(_told_apart(inputs, _height(raw[target]), raw), inputs, strict=True)
    ]


def _told_apart(inputs: Sequence[tuple[list[int], _Record]], height: float, raw: Sequence[_Record]) -> list[int]:
    """One source for each of a target's links."""
    choices = [[i for i in found if _height(raw[i]) < height] or found for found, _ in inputs]
    sure = [found[0] for found in choices if len(found) == 1]
    if sure == sorted(sure):
        choices = _by_place(choices, len(raw))
    for found, (_, link) in zip(choices, inputs, strict=True):
        if len(found) != 1:
            raise CallError(
                f"The link from {link['source']!r} to {link['target']!r} may come from a feature or from an error, "
                "which have the same id in it. Versions of circuit-tracer behind 0.5.0 write it anew without that."
            )
    return [found[0] for found in choices]


def _by_place(choices: Sequence[list[int]], n: int) -> list[list[int]]:
    """Sources ascend, so one that may be two nodes lies between the one before it and the next that is sure."""
    told: list[list[int]] = []
    for at, found in enumerate(choices):
        before = max((each[0] for each in told if len(each) == 1), default=-1)
        after = min((each[0] for each in choices[at + 1 :] if len(each) == 1), default=n)
        fitting = [i for i in found if before < i < after]
        twice = sum(each == found for each in choices) > 1
        told.append(fitting[:1] if twice else fitting)
    return told


def _height(node: _Record) -> float:
    if node["feature_type"] == "logit":
        return math.inf
    return -1.0 if node["layer"] == "E" else float(int(cast("str", node["layer"])))


# ---------------------------------------------------------------- ours


def _own(nodes: Sequence[_Named], edges: Sequence[tuple[int, int, _Record]], ours: object, file: _Record) -> Graph:
    """A file that we wrote, perhaps with links or labels changed since."""
    known = _object(ours)
    if set(known) != {"manifest", "bias"}:
        raise CallError(f"metadata.{EXTRA} holds {', '.join(known) or 'nothing'}, and should hold manifest and bias.")
    try:
        manifest = GraphManifest.model_validate({**_object(known["manifest"]), "foreign": {}, "files": []})
    except ValidationError as error:
        raise CallError(f"metadata.{EXTRA}.manifest cannot be understood ({store.complaints(error)}).") from error
    bias = _object(known["bias"])
    at = next((i for i, node in enumerate(nodes) if node.kind is Kind.TARGET), len(nodes)) if bias else len(nodes)
    rows = [_numbers(_object(node.raw.get(EXTRA))) for node in nodes]
    places = [node.place for node in nodes]
    if bias:
        places.insert(at, (int(Kind.BIAS), -1, -1, -1))
        rows.insert(at, _numbers(bias))
    moved = [i + (bool(bias) and i >= at) for i in range(len(nodes))]
    every = [(moved[target], moved[source], _flow_of(link)) for target, source, link in edges]
    numbers = {node.node_id: moved[i] for i, node in enumerate(nodes)}
    for link in _list(bias.get("edges")):
        every.append((numbers[str(_object(link)["target"])], at, _flow_of(_object(link))))
    columns = _columns(places, rows, sorted(every))
    if manifest.pieces is not None:
        columns |= _promoted([node for node in nodes if node.kind is Kind.FEATURE])
    graph = graph_from(manifest, columns)
    return _relabelled(graph, nodes, file)


def _numbers(extra: _Record) -> list[float]:
    if missing := [column for column in COLUMNS if column not in extra]:
        raise CallError(f"A node's {EXTRA} lacks {', '.join(missing)}.")
    return [math.nan if extra[column] is None else _number(extra[column]) for column in COLUMNS]


def _flow_of(link: _Record) -> tuple[float, float, float]:
    if "share" not in link or "score" not in link:
        raise CallError("A link lacks its share or its score.")
    return _number(link["weight"]), _number(link["share"]), _number(link["score"])


def _columns(
    places: Sequence[tuple[int, ...]], rows: Sequence[list[float]], edges: Sequence[tuple[int, int, tuple[float, ...]]]
) -> dict[str, np.ndarray]:
    by_place = np.array(places, dtype=np.int64).reshape(-1, 4)
    numbers = np.array(rows, dtype=np.float64).reshape(-1, len(COLUMNS))
    ends = np.array([edge[:2] for edge in edges], dtype=np.int64).reshape(-1, 2)
    flows = np.array([edge[2] for edge in edges], dtype=np.float64).reshape(-1, 3)
    columns = {"nodes.kind": by_place[:, 0].astype(np.uint8)}
    columns |= {f"nodes.{name}": by_place[:, i] for i, name in ((1, "layer"), (2, "position"), (3, "index"))}
    columns |= {f"nodes.{name}": numbers[:, i] for i, name in enumerate(COLUMNS)}
    columns |= {"edges.target": ends[:, 0], "edges.source": ends[:, 1]}
    return columns | {f"edges.{name}": flows[:, i] for i, name in enumerate(("weight", "share", "score"))}


def _promoted(features: Sequence[_Named]) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    for key, tokens, logits in (("promotes", "tokens", "logits"), ("suppresses", "suppressed", "suppressed_logits")):
        pairs = [_list(_object(node.raw.get(EXTRA)).get(key)) for node in features]
        if len({len(row) for row in pairs}) > 1:
            raise CallError(f"Not every feature {key} as many tokens.")
        width = len(pairs[0]) if pairs else 0
        flat = [_number(each) for row in pairs for pair in row for each in _list(pair)[:2]]
        if len(flat) != 2 * len(pairs) * width:
            raise CallError(f"What a feature {key} must be pairs of a token and a logit.")
        table = np.array(flat, dtype=np.float64).reshape(len(pairs), width, 2)
        columns |= {f"promoted.{tokens}": table[..., 0].astype(np.int64), f"promoted.{logits}": table[..., 1]}
    return columns


def _relabelled(graph: Graph, nodes: Sequence[_Named], file: _Record) -> Graph:
    """With the labels and groups that another tool changed in the file; what it left alone stays as it was."""
    before = graph_json(graph)
    written = {str(node["node_id"]): node for node in cast("list[_Record]", before["nodes"])}
    labels = dict(graph.labels)
    for node in nodes:
        said, clerp = written[node.node_id]["clerp"], node.raw["clerp"]
        if node.kind is not Kind.TARGET and clerp != said:
            labels[_name(node)] = NodeLabel(str(clerp), by=_ELSEWHERE)
    groups = _object(file["qParams"]).get("supernodes")
    changed = groups != _object(before["qParams"])["supernodes"]
    kept = {name: label for name, label in labels.items() if label.text or label.kind}
    made = replace(graph, labels=kept)
    return made.grouped(_groups(groups, {node.node_id: _name(node) for node in nodes})) if changed else made


# ---------------------------------------------------------------- others'


def _foreign(nodes: Sequence[_Named], edges: Sequence[tuple[int, int, _Record]], file: _Record) -> Graph:
    metadata = _object(file["metadata"])
    tokens = [str(token) for token in _list(metadata["prompt_tokens"])]
    ids = {node.position: node.index for node in nodes if node.kind is Kind.TOKEN}
    targets = [node for node in nodes if node.kind is Kind.TARGET]
    threshold = metadata.get("node_threshold")
    edge_share = _object(metadata.get("pruning_settings")).get("edge_threshold")
    labels = {
        _name(n): NodeLabel(str(n.raw["clerp"]), by=_ELSEWHERE)
        for n in nodes
        if n.kind is not Kind.TARGET and n.raw["clerp"]
    }
    graph = Graph(
        prompt=Prompt(
            tuple(TokenId(ids.get(i, -1)) for i in range(len(tokens))),
            tuple(shown(token.encode("utf-8", "surrogatepass")) for token in tokens),
            str(metadata["prompt"]),
        ),
        targets=_targets(targets),
        nodes=_node_table(nodes),
        edges=_edge_table(edges),
        n_layers=max(int(cast("str", node.raw["layer"])) for node in targets) - 1,
        node_share=None if threshold is None else _number(threshold),
        edge_share=None if edge_share is None else _number(edge_share),
        labels=labels,
    )
    groups = _object(file["qParams"]).get("supernodes")
    return _flowing(graph).grouped(_groups(groups, {node.node_id: _name(node) for node in nodes}))


def _targets(targets: Sequence[_Named]) -> tuple[GraphTarget, ...]:
    found = [_CLERP.fullmatch(str(node.raw["clerp"])) for node in targets]
    said = [None if match is None else float(match["p"]) for match in found]
    probability = [
        _number(node.raw["token_prob"]) if "token_prob" in node.raw else (p or 0.0)
        for node, p in zip(targets, said, strict=True)
    ]
    total = sum(probability) or 1.0
    return tuple(
        GraphTarget(
            name=shown(match["token"].encode("utf-8", "surrogatepass")) if match else str(node.raw["clerp"]),
            position=node.position,
            weight=p / total,
            probability=p,
            token=_whole(node.raw["feature"]),
        )
        for node, match, p in zip(targets, found, probability, strict=True)
    )


def _node_table(nodes: Sequence[_Named]) -> NodeTable:
    def numbers(key: str) -> np.ndarray:
        values = [node.raw.get(key) for node in nodes]
        return np.array([math.nan if value is None else _number(value) for value in values], dtype=np.float64)

    places = np.array([node.place for node in nodes], dtype=np.int64).reshape(-1, 4)
    nothing = np.full(len(nodes), np.nan)
    return NodeTable(
        kind=places[:, 0].astype(np.uint8),
        layer=places[:, 1],
        position=places[:, 2],
        index=places[:, 3],
        activation=numbers("activation"),
        influence=nothing,
        curve=numbers("influence"),
        total=nothing,
        inputs=nothing,
        folded=nothing,
    )


def _edge_table(edges: Sequence[tuple[int, int, _Record]]) -> EdgeTable:
    ends = np.array([edge[:2] for edge in edges], dtype=np.int64).reshape(-1, 2)
    weight = np.array([_number(link["weight"]) for _, _, link in edges], dtype=np.float64)
    return EdgeTable(ends[:, 1], ends[:, 0], weight, weight, weight)


def _flowing(graph: Graph) -> Graph:
    """With shares, scores and influence of what the file shows."""
    n, e = graph.nodes, graph.edges
    inputs = np.bincount(e.target, np.abs(e.weight), len(n))
    share = np.divide(np.abs(e.weight), inputs[e.target], out=np.zeros(len(e)), where=inputs[e.target] > 0)
    feature, target = n.spans["feature"], n.spans["target"]
    rows = [*range(feature.start, feature.stop), *range(target.start, target.stop)]
    row_of = {node: row for row, node in enumerate(rows)}
    shares = torch.zeros(len(rows), target.start, dtype=torch.float64)
    shares[[row_of[int(node)] for node in e.target], torch.from_numpy(e.source.copy())] = torch.from_numpy(share)
    weights = torch.tensor([each.weight for each in graph.targets], dtype=torch.float64)
    reached = np.concatenate([influence(shares, weights).numpy(), np.zeros(len(n) - target.start)])
    flow = reached.copy()
    flow[target] = weights.numpy()
    return replace(
        graph,
        nodes=replace(n, influence=reached, inputs=inputs),
        edges=replace(e, share=share, score=share * flow[e.target]),
    )


def _with_foreign(
    graph: Graph, nodes: Sequence[_Named], edges: Sequence[tuple[int, int, _Record]], file: _Record
) -> Graph:
    """With what the file says beyond our own words, as differences from what we would write."""
    bare = replace(graph, foreign={"ids": {str(_name(node)): node.node_id for node in nodes}})
    made = graph_json(bare)
    written = [_object(node) for node in _list(made["nodes"])]
    patches = {str(_name(node)): _difference(node.raw, mine) for node, mine in zip(nodes, written, strict=True)}
    links = [_object(link) for link in _list(made["links"])]
    changed = {
        f"{_name(nodes[source])} {_name(nodes[target])}": patch
        for (target, source, link), mine in zip(edges, links, strict=True)
        if (patch := _difference(link, mine))
    }
    foreign: dict[str, object] = {
        **bare.foreign,
        "metadata": _difference(_object(file["metadata"]), _object(made["metadata"])),
        "qParams": _difference(_object(file["qParams"]), _object(made["qParams"])),
        "nodes": {name: patch for name, patch in patches.items() if patch},
        "links": changed,
    }
    return replace(graph, foreign=foreign)


def _difference(raw: _Record, made: _Record) -> object:
    """The patch that makes of our record the one in the file; nothing where they are equal."""
    changed = {key: value for key, value in raw.items() if key not in made or _unlike(value, made[key])}
    dropped: list[object] = [key for key in made if key not in raw]
    return {"set": changed, "drop": dropped} if changed or dropped else {}


def _unlike(a: object, b: object) -> bool:
    return type(a) is not type(b) or a != b


# ---------------------------------------------------------------- parts


def _groups(groups: object, names: Mapping[str, NodeId]) -> list[Supernode]:
    """The groups of a file; what is no node there is left out, and so is a node's second group."""
    found: list[Supernode] = []
    seen: set[NodeId] = set()
    for group in _list(groups):
        label, *members = [str(each) for each in _list(group)] or [""]
        mine = dict.fromkeys(names[member] for member in members if member in names and names[member] not in seen)
        seen.update(mine)
        if mine:
            found.append(Supernode(label, tuple(mine), "grouped in the file that was read", "user"))
    return found


def _name(node: _Named) -> NodeId:
    match node.kind:
        case Kind.FEATURE:
            return NodeId(node.kind, node.layer, node.position, node.index)
        case Kind.ERROR:
            return NodeId(node.kind, node.layer, node.position)
        case Kind.TOKEN:
            return NodeId(node.kind, position=node.position)
        case _:
            return NodeId(node.kind, index=node.index)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CallError(f"{value!r} is no number.")
    return float(value)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
