"""Frozen tables: spans, names, and errors that say what is there."""

from dataclasses import fields, replace

import numpy as np
import pytest

from micrographia.errors import CallError
from micrographia.graph.nodes import Kind
from tests.graph.graphs import small_graph


def test_spans_hold_each_kind_and_nothing_else() -> None:
    nodes = small_graph().nodes
    spans = nodes.spans
    assert list(spans) == ["feature", "error", "token", "bias", "target"]
    for kind in Kind:
        assert (nodes.kind[spans[kind.name.lower()]] == kind).all()
    assert sum(span.stop - span.start for span in spans.values()) == len(nodes)


def test_every_node_is_found_by_its_name() -> None:
    nodes = small_graph(3).nodes
    assert [nodes.find(str(name)) for name in nodes] == list(range(len(nodes)))


def test_nobody_can_write_to_a_column() -> None:
    graph = small_graph()
    for table in (graph.nodes, graph.edges):
        for field in fields(table):
            with pytest.raises(ValueError, match="read-only"):
                getattr(table, field.name)[0] = 0


def test_a_column_is_not_the_callers_array() -> None:
    edges = small_graph().edges
    mine = np.ones(len(edges))
    kept = replace(edges, weight=mine)
    mine[0] = 7
    assert kept.weight[0] == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("3.99@2", "There is no node 3.99@2 in this graph. There it has 3.1"),
        ("9.0@0", "There is no node 9.0@0 in this graph. Of its kind it has "),
        ("12/345@7", "'12/345@7' names no node. A feature is written 12.301@5"),
        ("target.7", "Of its kind it has target.0, target.1."),
    ],
)
def test_what_is_not_there_is_said_beside_what_is(name: str, said: str) -> None:
    with pytest.raises(CallError) as caught:
        small_graph(1, 1.0, 1.0).nodes.find(name)
    assert said in str(caught.value)


def test_tables_out_of_order_are_refused() -> None:
    graph = small_graph()
    with pytest.raises(CallError, match="not in canonical order"):
        replace(graph.nodes, kind=graph.nodes.kind[::-1])
    with pytest.raises(CallError, match="twice"):
        replace(graph.nodes, **{name: np.full(len(graph.nodes), -1) for name in ("layer", "position", "index")})
    with pytest.raises(CallError, match="not ordered by target"):
        replace(graph.edges, target=graph.edges.target[::-1])
