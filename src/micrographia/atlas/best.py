"""The first so many entries of each feature under an order that does not depend on when an entry came.

Entries of one feature with the same context count once, as the first of them. What is kept of two parts put together is
what would have been kept of the whole, so parts may be made anywhere and joined in any order.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt16, UInt32, UInt64

__all__ = ["Best", "Entries", "Order", "chosen"]

Order: TypeAlias = Literal["strongest", "random"]
"""By strength, equals by the hash of their contexts; or by that hash alone."""

_NONE = np.uint64(2**64 - 1)
_HASH_BITS = np.uint64(16)


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Places where features are active."""

    feature: Int64[np.ndarray, " entry"]
    code: UInt16[np.ndarray, " entry"]
    context: UInt64[np.ndarray, " entry"]
    """The hash of the tokens up to there."""
    place: UInt32[np.ndarray, " entry"]
    near: UInt8[np.ndarray, "entry span"]
    """How strong the feature is at the tokens around."""

    def __len__(self) -> int:
        return len(self.feature)

    def rows(self, index: Int64[np.ndarray, " some"] | Bool[np.ndarray, " entry"]) -> "Entries":
        parts = (self.feature, self.code, self.context, self.place, self.near)
        return Entries(*(part[index] for part in parts))

    @staticmethod
    def joined(several: "list[Entries]") -> "Entries":
        columns = zip(*((e.feature, e.code, e.context, e.place, e.near) for e in several), strict=True)
        return Entries(*(np.concatenate(column) for column in columns))


@final
class Best:
    """At most `n` entries for each feature of a layer, and some more that wait to be sorted in."""

    __slots__ = ("_held", "_patience", "_waiting", "least", "n", "n_features", "order", "span")

    def __init__(self, order: Order, n_features: int, n: int, span: int) -> None:
        self.order: Order = order
        self.n_features, self.n, self.span = n_features, n, span
        self._held = _nothing(span)
        self._waiting: list[Entries] = []
        self._patience = max(n_features * n // 2, 1)
        bound = np.uint16(0) if order == "strongest" else _NONE
        self.least = np.full(n_features, bound)
        """What an entry must reach to have a chance: a code, or a hash that it must not exceed."""

    def passing(
        self, feature: Int64[np.ndarray, " entry"], value: UInt16[np.ndarray, " entry"] | UInt64[np.ndarray, " entry"]
    ) -> Int64[np.ndarray, " some"]:
        """Which entries may be kept, by their codes (`strongest`) or hashes (`random`)."""
        bound = self.least[feature]
        return np.flatnonzero(value >= bound if self.order == "strongest" else value <= bound)

    def picked(
        self,
        feature: Int64[np.ndarray, " entry"],
        code: UInt16[np.ndarray, " entry"],
        context: UInt64[np.ndarray, " entry"],
        place: UInt32[np.ndarray, " entry"],
    ) -> Int64[np.ndarray, " some"]:
        """Which of some entries are worth the trouble: the best of each feature among themselves."""
        return chosen(self.order, self.n, self.n_features, feature, code, context, place)

    def add(self, entries: Entries) -> None:
        """Take entries in, sooner or later."""
        self._waiting.append(entries)
        if sum(map(len, self._waiting)) >= self._patience:
            self._settle()

    def held(self) -> Entries:
        """What is kept, by feature, the first of each in front."""
        self._settle()
        return self._held

    def _settle(self) -> None:
        if not self._waiting:
            return
        whole = Entries.joined([self._held, *self._waiting])
        self._waiting = []
        self._held = whole.rows(self.picked(whole.feature, whole.code, whole.context, whole.place))
        full = np.bincount(self._held.feature, minlength=self.n_features) == self.n
        last = np.cumsum(np.bincount(self._held.feature, minlength=self.n_features)) - 1
        values = self._held.code if self.order == "strongest" else self._held.context
        self.least[full] = values[last[full]]


def chosen(
    order: Order,
    n: int,
    n_features: int,
    feature: Int64[np.ndarray, " entry"],
    code: UInt16[np.ndarray, " entry"],
    context: UInt64[np.ndarray, " entry"],
    place: UInt32[np.ndarray, " entry"],
) -> Int64[np.ndarray, " some"]:
    """The first `n` entries of each feature with different contexts, by feature and in their order."""
    bits = np.uint64(max(n_features - 1, 1).bit_length())
    by = context if order == "random" else _strongest_first(code, context)
    row = _ordered(feature, by, place, bits)
    if order == "random":
        row = row[_first_of_runs(_packed(feature[row], context[row], bits))]
    else:
        row = row[_first_of_equals(_packed(feature[row], context[row], bits))]
    return row[_rank_in_runs(feature[row]) < n]


def _strongest_first(
    code: UInt16[np.ndarray, " entry"], context: UInt64[np.ndarray, " entry"]
) -> UInt64[np.ndarray, " entry"]:
    return (np.uint64(0xFFFF) - code.astype(np.uint64)) << np.uint64(48) | context >> _HASH_BITS


def _packed(
    feature: Int64[np.ndarray, " entry"], key: UInt64[np.ndarray, " entry"], bits: np.uint64
) -> UInt64[np.ndarray, " entry"]:
    """Feature and key as one number in their order, short of the key's last bits."""
    return feature.astype(np.uint64) << (np.uint64(64) - bits) | key >> bits


def _ordered(
    feature: Int64[np.ndarray, " entry"],
    key: UInt64[np.ndarray, " entry"],
    place: UInt32[np.ndarray, " entry"],
    bits: np.uint64,
) -> Int64[np.ndarray, " entry"]:
    """By feature, key, place. One sort of packed numbers is several times faster than three; equals come again."""
    packed = _packed(feature, key, bits)
    row = np.argsort(packed)
    same = np.diff(packed[row]) == 0
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
        some = row[tied]
        row[tied] = some[np.lexsort((place[some], key[some], feature[some]))]
    return row


def _first_of_runs(packed: UInt64[np.ndarray, " entry"]) -> Bool[np.ndarray, " entry"]:
    return np.append(np.ones(min(len(packed), 1), dtype=bool), np.diff(packed) != 0)


def _first_of_equals(packed: UInt64[np.ndarray, " entry"]) -> Bool[np.ndarray, " entry"]:
    """Of equal numbers, wherever they stand, the first."""
    if not len(packed):
        return np.zeros(0, dtype=bool)
    row = np.argsort(packed)
    starts = np.flatnonzero(_first_of_runs(packed[row]))
    first = np.zeros(len(packed), dtype=bool)
    first[np.minimum.reduceat(row, starts)] = True
    return first


def _rank_in_runs(feature: Int64[np.ndarray, " entry"]) -> Int64[np.ndarray, " entry"]:
    """How many entries of the same feature stand before each."""
    starts = np.flatnonzero(np.append(np.ones(min(len(feature), 1), dtype=bool), np.diff(feature) != 0))
    lengths = np.diff(np.append(starts, len(feature)))
    return np.arange(len(feature)) - np.repeat(starts, lengths)


def _nothing(span: int) -> Entries:
    return Entries(
        np.zeros(0, np.int64),
        np.zeros(0, np.uint16),
        np.zeros(0, np.uint64),
        np.zeros(0, np.uint32),
        np.zeros((0, span), np.uint8),
    )
