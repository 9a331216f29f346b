"""A graph in a notebook: a few figures and small tables. All text in it is inert."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from micrographia.graph.nodes import Kind

if TYPE_CHECKING:
    from micrographia.graph.graph import Graph

__all__ = ["graph_html", "inert_html"]

_NODES_SHOWN = 12
_LONGEST = 200


def inert_html(text: str) -> str:
    """A text from outside, to be read and not obeyed: no markup, no control characters, no end without one."""
    shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return escape("".join(c if c.isprintable() else repr(c)[1:-1] for c in shown))


def graph_html(graph: "Graph") -> str:
    """The prompt, what is explained, how well, and the nodes that matter most."""
    return "\n".join(
        [
            "<div>",
            f"<p><b>{inert_html(graph.prompt.text)}</b></p>",
            _table(("target", "probability", "weight"), _targets(graph)),
            _table(("figure", "value"), _figures(graph)),
            _table(("node", "says", "activation", "influence"), _nodes(graph)),
            "</div>",
        ]
    )


def _targets(graph: "Graph") -> Iterable[Sequence[str]]:
    for target in graph.targets:
        probability = "" if target.probability is None else f"{target.probability:.3f}"
        yield inert_html(target.name), probability, f"{target.weight:.1%}"


def _figures(graph: "Graph") -> Iterable[Sequence[str]]:
    yield "nodes, edges", f"{len(graph.nodes)}, {len(graph.edges)}"
    if graph.supernodes:
        yield "groups", str(len(graph.supernodes))
    if graph.scores is not None:
        for name, score in (("traced", graph.scores.trace), ("shown", graph.scores.shown)):
            yield f"replacement, completeness ({name})", f"{score.replacement:.3f}, {score.completeness:.3f}"
    if graph.ledger is not None:
        ends = graph.ledger.ends
        yield "influence ends in tokens", f"{ends.tokens:.1%}"
        yield "in errors; in features without a row", f"{ends.errors:.1%}; {ends.folded:.1%}"
        yield "not shown", f"{ends.pruned + ends.hidden:.1%}"


def _nodes(graph: "Graph") -> Iterable[Sequence[str]]:
    features = np.flatnonzero(graph.nodes.kind == Kind.FEATURE)
    order = features[np.argsort(-graph.nodes.influence[features], kind="stable")][:_NODES_SHOWN]
    for node in (graph.node(graph.nodes.id(int(i))) for i in order):
        says = node.words or " ".join(piece for piece, _ in node.promotes)
        yield str(node.id), inert_html(says), f"{node.activation:.3g}", f"{node.influence:.2%}"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
