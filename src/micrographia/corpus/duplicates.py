"""Which documents were there before: equal ones by their fingerprint, nearly equal ones by the least of their shingles.

A shingle is five tokens in a row. Under 32 orders of all shingles a document keeps its first one; eight such minima
make a band, and two documents with one of four bands in common count as nearly equal. Documents that share a part s
of their shingles do so with probability 1 − (1 − s⁸)⁴: .02 at s = .5, .21 at .7, .52 at .8, .90 at .9.
"""

from collections.abc import Iterable
from typing import final

import numpy as np
import numpy.typing as npt
from jaxtyping import Integer, UInt64

__all__ = ["N_BANDS", "Hashes", "bands"]

N_BANDS = 4
_ROWS = 8
_SHINGLE = 5
_FEWEST = 50
"""A shorter document has too few shingles to be judged by them."""
_RECENT = 1 << 16

_ODD = np.random.default_rng(1665).integers(0, 2**63, size=_SHINGLE + N_BANDS * _ROWS, dtype=np.uint64) * np.uint64(
    2
) + np.uint64(1)


def bands(ids: Integer[np.ndarray, " pos"]) -> UInt64[np.ndarray, " band"]:
    """The bands of a document; zeros, which say nothing, for a short one."""
    if len(ids) < _FEWEST:
        return np.zeros(N_BANDS, dtype=np.uint64)
    n = len(ids) - _SHINGLE + 1
    shingles = np.zeros(n, dtype=np.uint64)
    for offset in range(_SHINGLE):
        shingles += (ids[offset : offset + n].astype(np.uint64) + np.uint64(1)) * _ODD[offset]
    shingles = _mixed(shingles)
    least = np.array([(shingles * odd).min() for odd in _ODD[_SHINGLE:]], dtype=np.uint64)
    found = np.zeros(N_BANDS, dtype=np.uint64)
    for row in least.reshape(N_BANDS, _ROWS).T:
        found = _mixed(found + row)
    return _mixed(found + np.arange(1, N_BANDS + 1, dtype=np.uint64)) | np.uint64(1)


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser: every bit of the result depends on every bit of the value."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@final
class Hashes:
    """A growing set of 64-bit numbers in eight bytes each."""

    __slots__ = ("_recent", "_sorted")

    def __init__(self) -> None:
        self._sorted = np.zeros(0, dtype=np.uint64)
        self._recent: set[int] = set()

    def __contains__(self, value: int) -> bool:
        if value in self._recent:
            return True
        at = int(np.searchsorted(self._sorted, np.uint64(value)))
        return at < len(self._sorted) and int(self._sorted[at]) == value

    def add(self, values: Iterable[int]) -> None:
        """Add numbers that are not there yet; those that are do no harm."""
        self._recent.update(values)
        if len(self._recent) >= _RECENT:
            recent = np.fromiter(self._recent, dtype=np.uint64, count=len(self._recent))
            self._sorted = np.union1d(self._sorted, recent)
            self._recent = set()
