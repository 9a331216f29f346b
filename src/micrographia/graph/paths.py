"""Edges and paths as a person asks for them, and the search for the strongest paths."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Float64

from micrographia.graph.nodes import Kind, NodeId
from micrographia.graph.tables import EdgeTable, NodeTable

__all__ = ["Edge", "Path", "strongest"]


@dataclass(frozen=True, slots=True)
class Edge:
    """What one node adds to another."""

    source: NodeId
    target: NodeId
    weight: float
    share: float
    """Of the magnitudes of all inputs of the target."""
    score: float
    """The share of all influence that flows along it."""

    def __str__(self) -> str:
        return f"{self.source} → {self.target}  {self.weight:+.3g} ({self.share:.1%} of its inputs)"


@dataclass(frozen=True, slots=True)
class Path:
    """A way from a source up to a target."""

    nodes: tuple[NodeId, ...]
    """From the source to the target."""
    share: float
    """The share of all influence that goes this way: the target's weight times the shares of the edges."""
    sign: int
    """Of the product of the weights: whether more at the start means more (+1) or less (-1) at the end."""

    def __str__(self) -> str:
        return f"{self.share:.2%} {'+' if self.sign > 0 else '−'}  {' → '.join(map(str, self.nodes))}"


def strongest(
    nodes: NodeTable,
    edges: EdgeTable,
    weights: Float64[np.ndarray, " target"],
    n: int,
    ends: Kind = Kind.TOKEN,
) -> tuple[Path, ...]:
    """The n paths from nodes of one kind to the targets along which most influence flows.

    Best first: a path that is begun at its target waits in a queue under the best that it can still become.
    """
    inputs = _inputs(nodes, edges)
    hope = _hope(nodes, inputs, ends)
    first = nodes.spans["target"].start
    queue: list[tuple[float, tuple[int, ...], float, int]] = []
    for number, weight in enumerate(weights.tolist()):
        heapq.heappush(queue, (-weight * float(hope[first + number]), (first + number,), weight, 1))
    found = _popped(queue, nodes, inputs, hope, ends)
    return tuple(
        Path(tuple(nodes.id(node) for node in reversed(way)), share, sign) for way, share, sign in islice(found, n)
    )


_Inputs = Callable[[int], Iterator[tuple[int, float, int]]]


def _popped(
    queue: list[tuple[float, tuple[int, ...], float, int]],
    nodes: NodeTable,
    inputs: _Inputs,
    hope: Float64[np.ndarray, " node"],
    ends: Kind,
) -> Iterator[tuple[tuple[int, ...], float, int]]:
    while queue:
        best, way, share, sign = heapq.heappop(queue)
        here = way[len(way) - 1]
        if best == 0:
            return
        if nodes.kind[here] == ends:
            yield way, share, sign
            continue
        for source, part, signed in inputs(here):
            if hope[source] > 0:
                carried = share * part
                heapq.heappush(queue, (-carried * float(hope[source]), (*way, source), carried, sign * signed))


def _inputs(nodes: NodeTable, edges: EdgeTable) -> _Inputs:
    starts = np.searchsorted(edges.target, np.arange(len(nodes) + 1))

    def of(target: int) -> Iterator[tuple[int, float, int]]:
        for edge in range(int(starts[target]), int(starts[target + 1])):
            yield int(edges.source[edge]), float(edges.share[edge]), 1 if edges.weight[edge] >= 0 else -1

    return of


def _hope(nodes: NodeTable, inputs: _Inputs, ends: Kind) -> Float64[np.ndarray, " node"]:
    """The largest product of shares on any way from a node down to an end; inputs stand before what they feed."""
    hope = (nodes.kind == ends).astype(np.float64)
    for span in (nodes.spans["feature"], nodes.spans["target"]):
        for node in range(span.start, span.stop):
            hope[node] = max([float(hope[node]), *(part * float(hope[source]) for source, part, _ in inputs(node))])
    return hope
