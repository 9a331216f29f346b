"""Routes against every path of a small graph, walked one by one."""

import pytest

from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind, NodeId
from micrographia.report.outline import parts_of
from micrographia.report.routes import PATHS, routes
from tests.graph.graphs import small_graph


def all_paths(graph: Graph) -> dict[tuple[NodeId, ...], tuple[float, int]]:
    """Every path from a token to a target, its share and its sign."""
    found: dict[tuple[NodeId, ...], tuple[float, int]] = {}

    def walk(way: tuple[NodeId, ...], share: float, sign: int) -> None:
        if way[0].kind == Kind.TOKEN:
            found[way] = share, sign
        for edge in graph.inputs_of(way[0]):
            walk((edge.source, *way), share * edge.share, sign * (1 if edge.weight >= 0 else -1))

    for number, target in enumerate(graph.targets):
        walk((NodeId(Kind.TARGET, index=number),), target.weight, 1)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_routes_are_the_strongest_paths_put_together(seed: int) -> None:
    graph = small_graph(seed, node_share=0.7, edge_share=0.7)
    parts = parts_of(graph)
    of = {graph.nodes.id(node): i for i, part in enumerate(parts) for node in part.members}
    paths = sorted(all_paths(graph).items(), key=lambda path: -path[1][0])[:PATHS]
    assert paths
    wanted: dict[tuple[int, ...], list[tuple[float, int]]] = {}
    for way, (share, sign) in paths:
        stops = [of[node] for node in way]
        merged = tuple(stop for i, stop in enumerate(stops) if i == 0 or stops[i - 1] != stop)
        wanted.setdefault(merged, []).append((share, sign))
    found = routes(graph, len(wanted))
    assert sum(route.n_paths for route in found) == len(paths)
    for route in found:
        mine = wanted[tuple(parts.index(stop) for stop in route.stops)]
        assert route.share == pytest.approx(sum(share for share, _ in mine))
        assert route.plus == pytest.approx(sum(share for share, sign in mine if sign > 0))
    assert [route.share for route in found] == sorted((route.share for route in found), reverse=True)
    assert routes(graph, 2) == found[:2]


def test_a_route_leads_from_a_token_to_the_answer() -> None:
    for route in routes(small_graph(5), 5):
        assert route.stops[0].kind == Kind.TOKEN
        assert route.stops[-1].kind == Kind.TARGET
        assert all(one != other for one, other in zip(route.stops, route.stops[1:], strict=False))
