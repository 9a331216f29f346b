"""Places in the picture."""

import numpy as np
import pytest

from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from micrographia.report.layout import layout
from tests.graph.graphs import small_graph
from tests.graph.traces import random_trace


def crowded() -> Graph:
    from micrographia.graph.build import graph_of

    trace = random_trace(0, n_layers=2, per_layer=40, n_positions=2)
    return graph_of(trace, node_share=1.0, edge_share=1.0)


@pytest.mark.parametrize(
    "graph", [small_graph(0), small_graph(1, 1.0, 1.0), crowded()], ids=["small", "whole", "crowded"]
)
def test_tokens_are_columns_and_layers_are_rows(graph: Graph) -> None:
    place, n = layout(graph), graph.nodes
    for node in range(len(n)):
        kind, position = Kind(int(n.kind[node])), int(n.position[node])
        if position >= 0:
            column = place.columns[position]
            assert column.left <= place.x[node] <= column.left + column.width
        wanted = {Kind.TARGET: place.targets, Kind.TOKEN: place.tokens, Kind.BIAS: place.tokens}
        assert place.y[node] == wanted.get(kind, place.layers[int(n.layer[node])])
    assert place.targets < place.layers[-1] < place.layers[0] < place.tokens < place.bottom
    assert np.all(place.x <= place.width)


def test_nobody_stands_on_anybody_but_in_a_stack_that_is_counted() -> None:
    graph = crowded()
    place = layout(graph)
    free = ~place.stacked
    spots = list(zip(place.x[free].tolist(), place.y[free].tolist(), strict=True))
    assert len(spots) == len(set(spots))
    assert place.stacks
    for stack in place.stacks:
        inside = place.stacked & (place.x == stack.x) & (place.y == stack.y)
        assert stack.n == int(inside.sum()) > 1


def test_the_most_influential_of_a_full_cell_have_places_of_their_own() -> None:
    graph = crowded()
    place, n = layout(graph), graph.nodes
    for stack in place.stacks:
        stacked = np.flatnonzero(place.stacked & (place.x == stack.x) & (place.y == stack.y))
        beside = ~place.stacked & (n.position == n.position[stacked[0]]) & (place.y == stack.y)
        assert n.influence[stacked].max() <= n.influence[beside].min()


def test_a_busier_column_is_wider() -> None:
    columns = layout(crowded()).columns
    assert columns[0].width > layout(small_graph(0)).columns[0].width
