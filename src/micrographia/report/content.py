"""A graph for other programs, as JSON: every node and edge, the outline, the routes, the books."""

from dataclasses import asdict

from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from micrographia.report.books import entries, held, judged
from micrographia.report.outline import Branch, Part, outline, parts_of
from micrographia.report.routes import routes

__all__ = ["content_of"]

_ROUTES = 20


def content_of(graph: Graph) -> dict[str, object]:
    """Everything that is known of a graph, in words and numbers that JSON can hold."""
    parts = parts_of(graph)
    facts = graph.facts
    return {
        "model": None if facts is None else facts.model,
        "prompt": {"ids": list(map(int, graph.prompt.ids)), "pieces": list(graph.prompt.pieces)},
        "targets": [asdict(target) for target in graph.targets],
        "shares": {"nodes": graph.node_share, "edges": graph.edge_share},
        "parts": _parts(graph),
        "routes": [
            {
                "share": route.share,
                "plus": route.plus,
                "paths": route.n_paths,
                "stops": [part.name for part in route.stops],
                "nodes": [[str(graph.nodes.id(node)) for node in part.members] for part in route.stops],
            }
            for route in routes(graph, _ROUTES, parts)
        ],
        "ledger": None if graph.ledger is None else _ledger(graph),
        "scores": None if graph.scores is None else asdict(graph.scores),
        "readings": [asdict(each) for each in judged(graph)],
        "facts": None if facts is None else asdict(facts) | {"versions": dict(facts.versions)},
        "nodes": [_node(graph, i) for i in range(len(graph.nodes))],
        "edges": _edges(graph),
    }


def _parts(graph: Graph) -> list[dict[str, object]]:
    """The outline, line by line: each part behind the one that it stands under."""
    found: list[dict[str, object]] = []

    def walk(branch: Branch, parent: int | None) -> None:
        number = len(found)
        found.append(_part(graph, branch.part) | {"under": parent})
        for child in branch.children:
            walk(child, number)

    walk(outline(graph).root, None)
    return found


def _part(graph: Graph, part: Part) -> dict[str, object]:
    return {
        "name": part.name,
        "kind": part.kind.name.lower(),
        "share": part.share,
        "layers": part.layers,
        "at": part.places,
        "activation": _number(part.activation),
        "promotes": [[said.piece, said.logit] for said in part.promotes],
        "reason": part.reason,
        "members": [str(graph.nodes.id(node)) for node in part.members],
    }


def _ledger(graph: Graph) -> dict[str, object]:
    ledger = graph.ledger
    assert ledger is not None, "asked for only where there is one"
    found = entries(ledger, graph.facts)
    return {
        "entries": [asdict(entry) for entry in found],
        "not_counted": list(held(ledger)),
        "ends": asdict(ledger.ends),
        "counts": asdict(ledger.counts),
        "at_position_0": ledger.at_position_0,
        "through_skips": ledger.through_skips,
        "shown_influence": ledger.shown_influence,
    }


def _node(graph: Graph, i: int) -> dict[str, object]:
    node = graph.node(graph.nodes.id(i))
    said = {"promotes": node.promotes, "suppresses": node.suppresses} if node.id.kind == Kind.FEATURE else {}
    numbers = {name: _number(getattr(node, name)) for name in ("activation", "influence", "curve", "total", "inputs")}
    return {"id": str(node.id), "kind": node.id.kind.name.lower(), "words": node.words, **numbers, **said}


def _edges(graph: Graph) -> dict[str, object]:
    """By columns; `source` and `target` are numbers in the list of nodes."""
    e = graph.edges
    return {
        "source": e.source.tolist(),
        "target": e.target.tolist(),
        **{name: [float(f"{x:.6g}") for x in getattr(e, name).tolist()] for name in ("weight", "share", "score")},
    }


def _number(value: float) -> float | None:
    """JSON has no number for what is none."""
    return float(value) if value == value and abs(value) != float("inf") else None
