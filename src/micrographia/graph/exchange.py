"""A graph as the JSON of circuit-tracer and Neuronpedia.

What that format has no place for travels in extra fields called `micrographia`, which other tools pass over: nothing
is lost on the way there and back. The bias is no node there, because readers know four kinds of node; it is in the
metadata. A file that came from another tool is given back as it was: what it said beyond our own words is kept in
`Graph.foreign`, as the difference.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np

from micrographia import store
from micrographia.graph.check import cantor
from micrographia.graph.files import manifest_of
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind, NodeId

__all__ = ["COLUMNS", "EXTRA", "GRAPH_VERSION", "graph_json", "node_ids", "patched", "spoken", "write_graph_json"]

GRAPH_VERSION = 1
EXTRA = "micrographia"
"""The name of the extra fields."""
COLUMNS = ("activation", "influence", "curve", "total", "inputs", "folded")
"""The columns of numbers that travel with each node."""

_Json: TypeAlias = dict[str, object]
_VIRTUAL = 10_000_000
"""Targets that are no token are numbered from here, beyond every vocabulary."""
_SPOKEN = str.maketrans({"␣": " ", "⏎": "\n", "⇥": "\t", "␍": "\r"})
_SAID = 3


def write_graph_json(
    graph: Graph, path: Path, *, slug: str | None = None, scan: str | None = None, source_set: str | None = None
) -> None:
    """Write a graph's JSON, whole or not at all, in ASCII."""
    content = graph_json(graph, slug=slug, scan=scan, source_set=source_set)
    with store.atomic_file(path) as stream:
        stream.write((json.dumps(content, indent=1, allow_nan=False) + "\n").encode("ascii"))


def graph_json(
    graph: Graph, *, slug: str | None = None, scan: str | None = None, source_set: str | None = None
) -> dict[str, object]:
    """A graph as JSON.

    `slug` names the graph, `scan` the model as a host calls it, `source_set` the features as Neuronpedia calls them.
    """
    foreign, ids = graph.foreign, node_ids(graph)
    nodes = {name: _node(graph, i, ids) for i, name in enumerate(ids) if graph.nodes.kind[i] != Kind.BIAS}
    patches = _object(foreign.get("nodes"))
    metadata = patched(_metadata(graph, slug, scan, source_set), foreign.get("metadata"))
    links = _object(foreign.get("links"))
    return {
        "metadata": {**metadata, **({} if foreign else {EXTRA: _ours(graph, ids)})},
        "qParams": patched(_view(graph, ids), foreign.get("qParams")),
        "nodes": [patched(node, patches.get(str(name))) for name, node in nodes.items()],
        "links": [patched(link, links.get(f"{source} {target}")) for source, target, link in _links(graph, ids)],
    }


def patched(made: Mapping[str, object], patch: object) -> dict[str, object]:
    """A record with some fields set and some dropped, as `{"set": {…}, "drop": […]}` says."""
    change = _object(patch)
    dropped = change.get("drop")
    gone = cast("list[object]", dropped) if isinstance(dropped, list) else []
    return {key: value for key, value in {**made, **_object(change.get("set"))}.items() if key not in gone}


def node_ids(graph: Graph) -> dict[NodeId, str]:
    """Every node's id in the JSON, in the order of the graph; the bias has one too, which no link may use."""
    patches, found, taken = _object(graph.foreign.get("ids")), dict[NodeId, str](), set[str]()
    for i, name in enumerate(graph.nodes):
        position, index = int(graph.nodes.position[i]), int(graph.nodes.index[i])
        match name.kind:
            case Kind.FEATURE:
                made = f"{name.layer}_{index}_{position}"
            case Kind.ERROR:
                made = f"{name.layer}_-1_{position}"
            case Kind.TOKEN:
                made = f"E_{max(index, 0)}_{position}"
            case Kind.BIAS:
                made = "bias"
            case Kind.TARGET:
                made = f"{graph.n_layers + 1}_{_vocabulary(graph, index, taken)}_{position}"
        found[name] = str(patches.get(str(name), made))
        taken.add(made)
    return found


def spoken(piece: str) -> str:
    """A token as text again: `␣French` is ` French`."""
    return piece.translate(_SPOKEN)


# ---------------------------------------------------------------- records


def _node(graph: Graph, i: int, ids: Mapping[NodeId, str]) -> _Json:
    n = graph.nodes
    name, position, index = n.id(i), int(n.position[i]), int(n.index[i])
    label = graph.labels.get(name)
    said = "" if label is None else label.text
    node: _Json = {
        "node_id": ids[name],
        "feature": -1,
        "layer": str(name.layer),
        "ctx_idx": position,
        "feature_type": "mlp reconstruction error",
        "token_prob": 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": f"{name.layer}_-1-{position}",
        "clerp": said,
        "influence": _finite(n.curve[i]),
        "activation": None,
    }
    match name.kind:
        case Kind.FEATURE:
            node |= {
                "feature": cantor(int(n.layer[i]), index),
                "feature_type": "cross layer transcoder",
                "jsNodeId": f"{name.layer}_{index}-0",
                "clerp": said or _description(graph, name),
                "activation": _finite(n.activation[i]),
            }
        case Kind.TOKEN:
            node |= {
                "feature": position,
                "layer": "E",
                "feature_type": "embedding",
                "jsNodeId": f"E_{max(index, 0)}-{position}",
            }
        case Kind.TARGET:
            node |= _target(graph, index, ids[name])
        case _:
            pass
    extra = {column: _finite(getattr(n, column)[i]) for column in COLUMNS}
    return node if graph.foreign else {**node, EXTRA: {**extra, **_said(graph, i)}}


def _target(graph: Graph, number: int, node_id: str) -> _Json:
    target = graph.targets[number]
    probability = target.weight if target.probability is None else target.probability
    layer, vocabulary, position = node_id.split("_") if node_id.count("_") == 2 else ("", "0", "")
    return {
        "feature": int(vocabulary),
        "layer": layer,
        "feature_type": "logit",
        "token_prob": probability,
        "is_target_logit": number == 0,
        "jsNodeId": f"L_{vocabulary}-{position}",
        "clerp": f'Output "{spoken(target.name)}" (p={probability:.3f})',
        "influence": None,
    }


def _links(graph: Graph, ids: Mapping[NodeId, str]) -> Iterator[tuple[NodeId, NodeId, _Json]]:
    """Each link, with the nodes that it joins."""
    e, names = graph.edges, list(ids)
    bias = graph.nodes.spans["bias"]
    for i in range(len(e)):
        source = int(e.source[i])
        if bias.start <= source < bias.stop:
            continue
        ends = names[source], names[int(e.target[i])]
        link: _Json = {"source": ids[ends[0]], "target": ids[ends[1]], "weight": float(e.weight[i])}
        ours = {} if graph.foreign else {"share": float(e.share[i]), "score": float(e.score[i])}
        yield *ends, {**link, **ours}


def _view(graph: Graph, ids: Mapping[NodeId, str]) -> _Json:
    groups = [
        [group.name, *(ids[member] for member in group.members if member.kind is not Kind.BIAS)]
        for group in graph.supernodes
    ]
    made: _Json = {
        "pinnedIds": [],
        "supernodes": [group for group in groups if len(group) > 1],
        "linkType": "both",
        "clickedId": "",
        "sg_pos": "",
    }
    return made


def _metadata(graph: Graph, slug: str | None, scan: str | None, source_set: str | None) -> _Json:
    digest = hashlib.sha256(json.dumps([graph.prompt.text, list(graph.prompt.ids)]).encode()).hexdigest()
    model = graph.facts.model if graph.facts is not None else "unknown"
    sets: _Json = {} if source_set is None else {"neuronpedia_source_set": source_set}
    return {
        "slug": slug or f"micrographia-{digest[:12]}",
        "scan": scan or model,
        "transcoder_list": [],
        "prompt_tokens": [spoken(piece) for piece in graph.prompt.pieces],
        "prompt": graph.prompt.text,
        "node_threshold": graph.node_share,
        "schema_version": GRAPH_VERSION,
        "info": {"generator": {"name": EXTRA, "version": version("micrographia")}, **sets},
        **({"feature_details": sets} if sets else {}),
        "pruning_settings": {"node_threshold": graph.node_share, "edge_threshold": graph.edge_share},
    }


# ---------------------------------------------------------------- what other tools have no place for


def _ours(graph: Graph, ids: Mapping[NodeId, str]) -> object:
    manifest = manifest_of(graph).model_dump(exclude={"files", "foreign"})
    return {"manifest": manifest, "bias": _bias(graph, list(ids.values()))}


def _bias(graph: Graph, names: list[str]) -> object:
    """The bias, with the edges that lead from it."""
    span = graph.nodes.spans["bias"]
    if span.start == span.stop:
        return None
    node = {column: _finite(getattr(graph.nodes, column)[span.start]) for column in COLUMNS}
    e = graph.edges
    edges: list[object] = [
        {
            "target": names[int(e.target[i])],
            "weight": float(e.weight[i]),
            "share": float(e.share[i]),
            "score": float(e.score[i]),
        }
        for i in np.flatnonzero(e.source == span.start)
    ]
    return {**node, "edges": edges}


def _said(graph: Graph, i: int) -> _Json:
    """The tokens that a feature promotes and suppresses, as ids with logits."""
    p = graph.promoted
    if p is None or graph.nodes.kind[i] != Kind.FEATURE:
        return {}
    return {
        "promotes": [[int(t), float(x)] for t, x in zip(p.tokens[i], p.logits[i], strict=True)],
        "suppresses": [[int(t), float(x)] for t, x in zip(p.suppressed[i], p.suppressed_logits[i], strict=True)],
    }


def _description(graph: Graph, name: NodeId) -> str:
    """Until a feature has a label: what it promotes."""
    promotes = graph.node(name).promotes[:_SAID]
    return "promotes " + " ".join(piece for piece, _ in promotes) if promotes else ""


def _vocabulary(graph: Graph, number: int, taken: set[str]) -> int:
    """A target's token; for what is no token, or was taken by a target before, a number beyond the vocabulary."""
    target = graph.targets[number]
    made = f"{graph.n_layers + 1}_{target.token}_{target.position}"
    return _VIRTUAL + number if target.token is None or made in taken else target.token


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _object(value: object) -> _Json:
    return cast("_Json", value) if isinstance(value, dict) else {}
