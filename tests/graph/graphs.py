"""Small graphs: of random traces, and one with everything that a graph can hold, hostile texts included."""

from dataclasses import replace

import numpy as np

from micrographia.graph.build import graph_of
from micrographia.graph.graph import Graph, NodeLabel, Supernode
from micrographia.graph.nodes import NodeId
from micrographia.graph.promoted import Promoted
from tests.graph.traces import random_trace

__all__ = ["HOSTILE", "full_graph", "same", "small_graph"]

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "a\u202eb\x1b[31m\x00",
    "\ud800 half",
    'Output "x" (p=0.999)',
    "(p=",
    "]]></script>",
    "'\"\\`${x}",
    "ſ" * 10_000,
    "",
    "a\nb\r\tc\x1a\x1ad800",
)


def small_graph(seed: int = 0, node_share: float = 0.8, edge_share: float = 0.95) -> Graph:
    return graph_of(random_trace(seed), node_share=node_share, edge_share=edge_share)


def full_graph(seed: int = 0, text: str = "France") -> Graph:
    """With promoted tokens, groups and labels; `text` stands wherever a text can stand."""
    graph = small_graph(seed)
    n = graph.nodes.spans["feature"].stop
    tokens = np.arange(2 * n).reshape(n, 2)
    logits = np.linspace(0, 1, 2 * n).reshape(n, 2)
    pieces = {token: f"{text}{token}" for token in range(2 * n)}
    first, second, third = (graph.nodes.id(i) for i in range(3))
    return replace(
        graph,
        prompt=replace(graph.prompt, text=text, pieces=(text, *graph.prompt.pieces[1:])),
        targets=tuple(replace(target, name=text) for target in graph.targets),
        promoted=Promoted(tokens, logits, tokens[::-1], -logits, pieces),
        supernodes=(Supernode(text, (first, third), text), Supernode("b", (second,), "because", "user")),
        labels={
            first: NodeLabel(text or "none", "output", 0.75, "rule", agrees=False),
            NodeId.parse("bias"): NodeLabel("constant"),
        },
    )


def same(a: Graph, b: Graph) -> bool:
    """Whether two graphs are equal in every part; their arrays to the last bit."""
    tables = [(a.nodes, b.nodes), (a.edges, b.edges), (a.promoted, b.promoted)]
    for one, other in tables:
        for name in getattr(one, "__slots__", ()):
            left, right = getattr(one, name), getattr(other, name)
            if isinstance(left, np.ndarray):
                if left.dtype != right.dtype or not np.array_equal(left, right, equal_nan=left.dtype.kind == "f"):
                    return False
            elif left != right:
                return False
    rest = ("prompt", "targets", "n_layers", "node_share", "edge_share", "scores", "ledger", "facts", "supernodes")
    return all(getattr(a, name) == getattr(b, name) for name in (*rest, "labels", "foreign"))
