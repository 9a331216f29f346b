"""What is kept of one layer's activations: counts, sums, a histogram, the strongest places, and a random sample of all.

Everything adds up in any order to the same bits: counts and sums are whole numbers, and which places are kept depends
on their strength, their context and where they are, never on when they came.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt16, UInt32, UInt64

from micrographia.atlas.best import Best, Entries, Order
from micrographia.atlas.strength import N_BINS, amounts, bins, squares

__all__ = ["Active", "Arrays", "Near", "Rows", "Shape", "Sketch"]

Arrays = Mapping[str, np.ndarray]
_BESTS: tuple[Order, ...] = ("strongest", "random")


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is kept of each feature."""

    strongest: int
    sample: int
    span: int
    """Tokens around a place whose strengths are kept with it."""

    def best(self, order: Order, n_features: int) -> Best:
        return Best(order, n_features, self.strongest if order == "strongest" else self.sample, self.span)


@runtime_checkable
class Near(Protocol):
    """Strengths in eight bits at the tokens around some entries; zero where a feature is not active or no token is."""

    def __call__(
        self, row: Int64[np.ndarray, " some"], feature: Int64[np.ndarray, " some"], /
    ) -> UInt8[np.ndarray, "some span"]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Active:
    """The entries of a block at which one layer's features are active."""

    row: Int64[np.ndarray, " entry"]
    feature: Int64[np.ndarray, " entry"]
    code: UInt16[np.ndarray, " entry"]
    near: Near
    negative: Bool[np.ndarray, " entry"] | None = None
    """Which activations are below zero, in a basis where that can be."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The positions of a block: where they are in the text, and the hash of the tokens up to there."""

    place: UInt32[np.ndarray, " row"]
    context: UInt64[np.ndarray, " row"]


@final
class Sketch:
    """The sketch of one layer."""

    __slots__ = ("bests", "histogram", "n_features", "negative", "shape", "square", "total")

    def __init__(self, n_features: int, shape: Shape) -> None:
        self.n_features, self.shape = n_features, shape
        self.histogram = np.zeros((n_features, N_BINS), dtype=np.int64)
        self.total = np.zeros(n_features, dtype=np.int64)
        self.square = np.zeros(n_features, dtype=np.int64)
        self.negative = np.zeros(n_features, dtype=np.int64)
        self.bests: dict[Order, Best] = {order: shape.best(order, n_features) for order in _BESTS}

    def add(self, active: Active, rows: Rows) -> None:
        """Take in what is active in one block."""
        feature, code, n = active.feature, active.code, self.n_features
        binned = np.bincount(feature * N_BINS + bins(code), minlength=n * N_BINS)
        self.histogram += binned.reshape(n, N_BINS)
        self.total += _sums(feature, amounts(code), n)
        self.square += _sums(feature, squares(code), n)
        if active.negative is not None:
            self.negative += np.bincount(feature[active.negative], minlength=n)
        self._offer("strongest", active, rows, self.bests["strongest"].passing(feature, code))
        self._offer("random", active, rows, self.bests["random"].passing(feature, rows.context[active.row]))

    def merge(self, other: "Sketch") -> None:
        """Take in what another sketch of the same layer has seen."""
        self.histogram += other.histogram
        self.total += other.total
        self.square += other.square
        self.negative += other.negative
        for order, best in self.bests.items():
            best.add(other.bests[order].held())

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it, to be written down."""
        found: dict[str, np.ndarray] = {
            "histogram": self.histogram,
            "total": self.total,
            "square": self.square,
            "negative": self.negative,
        }
        for order, best in self.bests.items():
            held = best.held()
            columns = (held.feature, held.code, held.context, held.place, held.near)
            found |= {f"{order}.{name}": column for name, column in zip(_COLUMNS, columns, strict=True)}
        return found

    @staticmethod
    def restored(arrays: Arrays, shape: Shape) -> "Sketch":
        """The sketch that was written down."""
        sketch = Sketch(len(arrays["total"]), shape)
        sketch.histogram, sketch.total = arrays["histogram"], arrays["total"]
        sketch.square, sketch.negative = arrays["square"], arrays["negative"]
        for order, best in sketch.bests.items():
            best.add(Entries(*(arrays[f"{order}.{name}"] for name in _COLUMNS)))
        return sketch

    def padded(self, order: Order) -> dict[str, np.ndarray]:
        """The entries that are kept, in arrays of one shape; `code` is zero where there are fewer."""
        best = self.bests[order]
        held = best.held()
        counts = np.bincount(held.feature, minlength=self.n_features)
        at = (held.feature, np.arange(len(held)) - np.repeat(np.cumsum(counts) - counts, counts))
        found: dict[str, np.ndarray] = {}
        for name, column in (("code", held.code), ("place", held.place), ("near", held.near)):
            found[name] = np.zeros((self.n_features, best.n, *column.shape[1:]), dtype=column.dtype)
            found[name][at] = column
        return found

    def _offer(self, order: Order, active: Active, rows: Rows, some: Int64[np.ndarray, " some"]) -> None:
        if not len(some):
            return
        row, feature, code = active.row[some], active.feature[some], active.code[some]
        found = Entries(feature, code, rows.context[row], rows.place[row], np.zeros((len(some), 0), np.uint8))
        picked = self.bests[order].picked(found.feature, found.code, found.context, found.place)
        near = active.near(row[picked], feature[picked])
        self.bests[order].add(replace(found.rows(picked), near=near))


_COLUMNS = ("feature", "code", "context", "place", "near")


def _sums(
    feature: Int64[np.ndarray, " entry"], amount: Int64[np.ndarray, " entry"], n: int
) -> Int64[np.ndarray, " feature"]:
    """Sums by feature; exact, because a block's stay below 2⁵³."""
    return np.bincount(feature, weights=amount, minlength=n).astype(np.int64)
