"""Edges of a real graph, split by the model that it was traced in."""

from dataclasses import replace

import numpy as np
import pytest

from micrographia.errors import CallError
from micrographia.graph.nodes import Kind
from micrographia.microscope import Microscope


@pytest.fixture(scope="module")
def looking(tiny):
    return Microscope(tiny("llama"), "neurons")


@pytest.mark.parametrize("against", [None, "t9"])
def test_the_heaviest_edges_are_the_sums_of_their_parts(looking: Microscope, against: str | None) -> None:
    graph = looking.trace("t3 t5 t7 t9", target="t13", against=against, max_nodes=30)
    names, e = list(graph.nodes), graph.edges
    inner = graph.nodes.kind[e.source] != Kind.BIAS
    for i in np.flatnonzero(inner)[np.argsort(-np.abs(e.weight[inner]))][:12]:
        parts = looking.carriers(graph, names[e.source[i]], str(names[e.target[i]]))
        assert parts.edge == pytest.approx(float(e.weight[i]), rel=1e-9)
        assert parts.direct + float(parts.last.sum()) == pytest.approx(float(e.weight[i]), rel=1e-9)


def test_an_edge_that_is_not_the_graphs_is_refused(looking: Microscope) -> None:
    graph = looking.trace("t3 t5 t7 t9", target="t13", max_nodes=30)
    first = graph.inputs_of("target.0")[0]
    with pytest.raises(CallError, match="no edge"):
        looking.carriers(graph, "target.0", first.source)
    doubled = replace(graph, edges=replace(graph.edges, weight=2 * graph.edges.weight))
    with pytest.raises(CallError, match="in the graph and"):
        looking.carriers(doubled, first.source, first.target)
