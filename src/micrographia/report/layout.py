"""Where each node of a graph stands in its picture: a column for every token, a row for every layer.

Embeddings stand at the bottom and targets on top. A column is as wide as its busiest cell; what a cell has no room for
lies in a stack at its end, which says how many it holds. Nodes in a stack keep their edges.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind

__all__ = ["Column", "Layout", "Stack", "layout"]

_MOST = 6
"""Places in a cell; the last is a stack where there are more nodes."""
_STEP = 15.0
_GAP = 14.0
_NARROWEST = 40.0
_LEFT = 46.0
_ROWS = (13.0, 26.0, 520.0)
"""A row's least and greatest height, and what all layers together are to take."""
_MARGIN = 30.0


@dataclass(frozen=True, slots=True)
class Column:
    """A token's place on the x axis."""

    left: float
    width: float

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


@dataclass(frozen=True, slots=True)
class Stack:
    """Nodes that share a place because their cell is full."""

    x: float
    y: float
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Places in pixels, from the upper left corner."""

    x: Float64[np.ndarray, " node"]
    y: Float64[np.ndarray, " node"]
    stacked: Bool[np.ndarray, " node"]
    """Nodes that are in a stack, and have no mark of their own."""
    stacks: tuple[Stack, ...]
    columns: tuple[Column, ...]
    layers: tuple[float, ...]
    """The height of each layer's row."""
    tokens: float
    targets: float
    width: float
    bottom: float
    """Where the row of tokens ends."""


def layout(graph: Graph) -> Layout:
    """Place every node."""
    cells = _cells(graph)
    n_positions = len(graph.prompt)
    columns = _columns(cells, n_positions)
    height = float(np.clip(_ROWS[2] / max(graph.n_layers, 1), _ROWS[0], _ROWS[1]))
    targets = _MARGIN
    layers = tuple(targets + height * (graph.n_layers - layer) + _GAP for layer in range(graph.n_layers))
    tokens = targets + height * (graph.n_layers + 1) + 2 * _GAP
    x, y = np.zeros(len(graph.nodes)), np.zeros(len(graph.nodes))
    stacked = np.zeros(len(graph.nodes), dtype=bool)
    stacks: list[Stack] = []
    for (row, position), nodes in cells.items():
        at = tokens if row < 0 else targets if row == graph.n_layers else layers[row]
        first = _LEFT / 2 if position < 0 else columns[position].middle - _STEP * (min(len(nodes), _MOST) - 1) / 2
        x[nodes], y[nodes] = first + _STEP * np.minimum(np.arange(len(nodes)), _MOST - 1), at
        if len(nodes) > _MOST:
            over = nodes[_MOST - 1 :]
            stacked[over] = True
            stacks.append(Stack(float(x[over[0]]), at, len(over)))
    width = columns[-1].left + columns[-1].width + _GAP if columns else 2 * _LEFT
    return Layout(x, y, stacked, tuple(stacks), columns, layers, tokens, targets, width, tokens + _MARGIN / 2)


def _cells(graph: Graph) -> dict[tuple[int, int], Int64[np.ndarray, " node"]]:
    """The nodes of each row and position, the most influential first; the bias stands left of the tokens, row -1."""
    n = graph.nodes
    row = np.where(n.kind == Kind.TARGET, graph.n_layers, np.where(n.kind <= Kind.ERROR, n.layer, -1))
    position = np.where(n.kind == Kind.BIAS, -1, n.position)
    order = np.argsort(-n.influence, kind="stable")
    cells: dict[tuple[int, int], list[int]] = {}
    for node in order.tolist():
        cells.setdefault((int(row[node]), int(position[node])), []).append(node)
    return {place: np.array(nodes) for place, nodes in sorted(cells.items())}


def _columns(cells: dict[tuple[int, int], Int64[np.ndarray, " node"]], n: int) -> tuple[Column, ...]:
    busiest = [1] * n
    for (_, position), nodes in cells.items():
        if position >= 0:
            busiest[position] = max(busiest[position], min(len(nodes), _MOST))
    left, columns = _LEFT, list[Column]()
    for count in busiest:
        width = max(_STEP * (count - 1) + 2 * _GAP, _NARROWEST)
        columns.append(Column(left, width))
        left += width
    return tuple(columns)
