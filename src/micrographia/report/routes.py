"""The strongest ways from tokens to the answer, told in parts of the outline: nodes of one part are one stop."""

from collections.abc import Sequence
from dataclasses import dataclass

from micrographia.graph.graph import Graph
from micrographia.report.outline import Part, parts_of

__all__ = ["PATHS", "Route", "routes"]

PATHS = 400
"""So many of the graph's strongest paths are put together; what flows along weaker ones is in no route."""


@dataclass(frozen=True, slots=True)
class Route:
    """A way from a token to the answer."""

    stops: tuple[Part, ...]
    """From the token to the answer."""
    share: float
    """The share of all influence that goes this way, summed over `n_paths` paths of nodes."""
    plus: float
    """The part of the share that goes along paths on which more at the start means more at the end."""
    n_paths: int


def routes(graph: Graph, n: int, parts: Sequence[Part] | None = None) -> tuple[Route, ...]:
    """The strongest routes, the strongest first."""
    parts = parts_of(graph) if parts is None else parts
    number = {node: i for i, part in enumerate(parts) for node in part.members}
    found: dict[tuple[int, ...], list[tuple[float, int]]] = {}
    for path in graph.strongest_paths(PATHS):
        stops = [number[graph.nodes.find(node)] for node in path.nodes]
        way = tuple(stop for i, stop in enumerate(stops) if i == 0 or stop != stops[i - 1])
        found.setdefault(way, []).append((path.share, path.sign))
    summed = [
        Route(
            stops=tuple(parts[stop] for stop in way),
            share=sum((share for share, _ in paths), 0.0),
            plus=sum((share for share, sign in paths if sign > 0), 0.0),
            n_paths=len(paths),
        )
        for way, paths in found.items()
    ]
    return tuple(sorted(summed, key=lambda route: -route.share)[:n])
