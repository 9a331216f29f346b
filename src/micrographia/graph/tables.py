"""The nodes and edges of a graph, as frozen columns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from micrographia.errors import CallError
from micrographia.graph.nodes import Kind, NodeId

__all__ = ["EdgeTable", "NodeTable"]

_KINDS = tuple(Kind)
_SHOWN_NEAR = 6


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class NodeTable:
    """One row per node, in canonical order: features, errors, tokens, the bias, targets.

    What a node lacks is -1, or NaN. `index` is a feature's index, a token's id, or the number of a target.
    """

    kind: UInt8[np.ndarray, " node"]
    layer: Int64[np.ndarray, " node"]
    position: Int64[np.ndarray, " node"]
    index: Int64[np.ndarray, " node"]
    activation: Float64[np.ndarray, " node"]
    """A feature's activation, the norm of an error's or a token's vector, a target's value in the clean run."""
    influence: Float64[np.ndarray, " node"]
    """On all targets, over all paths of the complete trace; 0 for targets."""
    curve: Float64[np.ndarray, " node"]
    """The node's place on the cumulative curve of influence, from 0 to 1; small means important."""
    total: Float64[np.ndarray, " node"]
    """What all of its inputs add up to, shown or not: a feature's pre-activation, a target's value."""
    inputs: Float64[np.ndarray, " node"]
    """The sum of the magnitudes of all of its inputs, shown or not; those without a node are one at each place."""
    folded: Float64[np.ndarray, " node"]
    """What its inputs without a node add up to: active features that got no row."""

    def __post_init__(self) -> None:
        _freeze(self)
        if np.any(np.diff(self.kind.astype(np.int64)) < 0) or np.any(self.kind >= len(_KINDS)):
            raise CallError("The nodes are not in canonical order: features, errors, tokens, the bias, targets.")
        places = np.stack([self.kind.astype(np.int64), self.layer, self.position, self.index])
        if np.unique(places, axis=1).shape[1] != len(self):
            raise CallError("A node is in the table twice.")

    def __len__(self) -> int:
        return len(self.kind)

    def __repr__(self) -> str:
        return f"<NodeTable: {_counted(self)}>"

    def __iter__(self) -> Iterator[NodeId]:
        return (self.id(i) for i in range(len(self)))

    @property
    def spans(self) -> Mapping[str, slice]:
        """Where each kind stands: `graph.nodes.influence[graph.nodes.spans["token"]]`."""
        starts = np.searchsorted(self.kind, np.arange(len(_KINDS) + 1))
        return MappingProxyType({kind.name.lower(): slice(int(starts[kind]), int(starts[kind + 1])) for kind in _KINDS})

    def id(self, node: int) -> NodeId:
        """The name of a node by its number."""
        columns = (self.kind, self.layer, self.position, self.index)
        return NodeId.of(*(int(column[node]) for column in columns))

    def find(self, name: str | NodeId) -> int:
        """The number of a node by its name."""
        wanted = NodeId.parse(name) if isinstance(name, str) else name
        same = self.kind == wanted.kind
        for column, value in ((self.layer, wanted.layer), (self.position, wanted.position), (self.index, wanted.index)):
            if value is not None:
                same = same & (column == value)
        found = np.flatnonzero(same)
        if len(found) != 1:
            raise CallError(f"There is no node {wanted} in this graph. {self._near(wanted)}")
        return int(found[0])

    def _near(self, wanted: NodeId) -> str:
        """What there is: first at the same place, then of the same kind."""
        alike = self.kind == wanted.kind
        here = alike & (wanted.layer is not None) & (self.layer == wanted.layer)
        at = here & (self.position == wanted.position)
        for chosen, words in ((at, "There"), (here, f"In layer {wanted.layer}"), (alike, "Of its kind")):
            if chosen.any():
                nearest = sorted(np.flatnonzero(chosen), key=lambda i: -self.influence[i])[:_SHOWN_NEAR]
                more = int(chosen.sum()) - len(nearest)
                listed = ", ".join(str(self.id(int(i))) for i in nearest)
                return f"{words} it has {listed}{f' and {more} more' if more else ''}."
        return f"It has {_counted(self)}."


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EdgeTable:
    """One row per edge, ordered by target, then source; both are numbers of nodes."""

    source: Int64[np.ndarray, " edge"]
    target: Int64[np.ndarray, " edge"]
    weight: Float64[np.ndarray, " edge"]
    """What the source adds to the target, signed."""
    share: Float64[np.ndarray, " edge"]
    """Of the magnitudes of all inputs of the target, shown or not."""
    score: Float64[np.ndarray, " edge"]
    """The share of all influence that flows along it."""

    def __post_init__(self) -> None:
        _freeze(self)
        pairs = np.stack([self.target, self.source])
        if len(self) and np.any(np.diff(np.lexsort(pairs[::-1])) != 1):
            raise CallError("The edges are not ordered by target, then source.")

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:
        return f"<EdgeTable: {len(self)} edges>"


def _freeze(table: NodeTable | EdgeTable) -> None:
    """Columns that nobody can write to; views of arrays that others hold are copied."""
    for field in fields(table):
        column = np.array(getattr(table, field.name), copy=True)
        column.flags.writeable = False
        object.__setattr__(table, field.name, column)


def _counted(table: NodeTable) -> str:
    counts = {kind.name.lower(): int((table.kind == kind).sum()) for kind in _KINDS}
    parts = [f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n]
    return ", ".join(parts) or "no nodes"
