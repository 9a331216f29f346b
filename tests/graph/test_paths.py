"""The strongest paths: against all paths, written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from micrographia.graph.paths import strongest
from tests.graph.graphs import small_graph


def every_path(graph: Graph, ends: Kind) -> list[tuple[float, tuple[str, ...], float]]:
    n, e = graph.nodes, graph.edges

    def down(
        node: int, share: float, weight: float, way: tuple[str, ...]
    ) -> list[tuple[float, tuple[str, ...], float]]:
        way = (str(n.id(node)), *way)
        found = [(share, way, weight)] if n.kind[node] == ends else []
        for i in np.flatnonzero(e.target == node):
            found += down(int(e.source[i]), share * float(e.share[i]), weight * float(e.weight[i]), way)
        return found

    first = n.spans["target"].start
    return [path for i, t in enumerate(graph.targets) for path in down(first + i, t.weight, 1.0, ())]


@settings(max_examples=15)
@given(st.integers(0, 500), st.integers(1, 40), st.sampled_from([Kind.TOKEN, Kind.ERROR, Kind.BIAS]))
def test_the_strongest_of_all_paths_come_first(seed: int, n: int, ends: Kind) -> None:
    graph = small_graph(seed)
    expected = sorted(every_path(graph, ends), key=lambda path: -path[0])[:n]
    found = graph.strongest_paths(n, ends=ends)
    assert [path.share for path in found] == pytest.approx([share for share, _, _ in expected])
    signs = {way: 1 if weight > 0 else -1 for _, way, weight in every_path(graph, ends)}
    assert [path.sign for path in found] == [signs[tuple(map(str, path.nodes))] for path in found]


def test_there_may_be_fewer_paths_than_asked_for() -> None:
    graph = small_graph(2, 0.3, 0.5)
    weights = np.array([target.weight for target in graph.targets])
    found = strongest(graph.nodes, graph.edges, weights, 10**6)
    assert len(found) == len(every_path(graph, Kind.TOKEN))


def test_a_path_and_an_edge_read_like_a_sentence() -> None:
    graph = small_graph(2)
    path = graph.strongest_paths(1)[0]
    assert str(path).endswith(" → ".join(map(str, path.nodes)))
    edge = graph.inputs_of("target.0", 1)[0]
    assert str(edge) == f"{edge.source} → target.0  {edge.weight:+.3g} ({edge.share:.1%} of its inputs)"
