"""Two halves of the documents: labels are made from the one, and tested on the other.

Which half a document is in, a hash of its number decides. Of the atlas's text some windows that lie in one half are
read anew; a place whose last tokens came before, in its own half or the other, does not count.
"""

import hashlib
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Int64, Integer

from micrographia.atlas.text import Text, contexts
from micrographia.errors import WorkError

__all__ = ["Halves", "Reading"]

_WHOLE = 0.9
"""The share of a window that must be in one half for the window to be read."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """Which documents labels are tested on."""

    text: Text
    seed: int

    def documents(self, places: Integer[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
        """The document that each place is in."""
        at = np.searchsorted(self.text.breaks, places.astype(np.uint32), side="right") - 1
        return self.text.documents[at].astype(np.int64)

    def held(self, documents: Int64[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
        """Whether each document is one of those that labels are tested on."""
        mixed = documents.astype(np.uint64) + np.uint64(self.seed) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ mixed >> np.uint64(shift)) * np.uint64(factor)
        return (mixed ^ mixed >> np.uint64(31)) >> np.uint64(63) == 1

    def sha256(self) -> str:
        """Of the numbers of the documents that labels are tested on."""
        known = np.unique(self.text.documents.astype(np.int64))
        return hashlib.sha256(known[self.held(known)].tobytes()).hexdigest()

    def reading(self, fit: int, held: int) -> "Reading":
        """Windows with so many positions of each half, or all there are."""
        text = self.text
        places = np.arange(text.ids.size, dtype=np.int64).reshape(text.ids.shape)
        tested = self.held(self.documents(places[:, 1:]))
        share = tested.mean(1)
        per_window = text.length - 1
        first = np.flatnonzero(share <= 1 - _WHOLE)[: -(-fit // per_window)]
        second = np.flatnonzero(share >= _WHOLE)[: -(-held // per_window)]
        if not len(first) or not len(second):
            raise WorkError(
                f"This atlas has {len(np.unique(text.documents))} documents in {len(text.ids)} windows: too few for "
                "one half to make labels from and another to test them on. Build an atlas of more text."
            )
        windows = np.concatenate([first, second])
        documents = self.documents(places[windows, 1:])
        hashes = contexts(text.ids[windows], self.seed).reshape(documents.shape)
        counts = self.held(documents)
        in_fit = ~counts & (np.arange(len(windows)) < len(first))[:, None]
        in_held = counts & (np.arange(len(windows)) >= len(first))[:, None]
        in_fit &= _fresh(hashes, in_fit)
        in_held &= _fresh(hashes, in_held) & ~np.isin(hashes, hashes[in_fit])
        return Reading(windows, np.asarray(text.ids[windows], dtype=np.int64), documents, in_fit, in_held)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The windows that are read anew. A row is a window's position behind its first, window by window."""

    windows: Int64[np.ndarray, " window"]
    """Their numbers in the atlas's text; those of the first half come first."""
    ids: Int64[np.ndarray, "window pos"]
    documents: Int64[np.ndarray, "window row"]
    fit: Bool[np.ndarray, "window row"]
    """The rows that labels may be made from."""
    held: Bool[np.ndarray, "window row"]
    """The rows that they are tested on."""

    def __post_init__(self) -> None:
        shared = np.intersect1d(self.documents[self.fit], self.documents[self.held])
        assert not len(shared), "no document is in both halves"

    @property
    def per_window(self) -> int:
        """Rows of a window."""
        return self.ids.shape[1] - 1

    def tokens(self, offset: int) -> Int64[np.ndarray, " row"]:
        """The token at a distance from each row; -1 where its window has none there."""
        length = self.ids.shape[1]
        found = np.full(self.documents.shape, -1, dtype=np.int64)
        first, last = max(1, -offset), min(length, length - offset)
        if first < last:
            found[:, first - 1 : last - 1] = self.ids[:, first + offset : last + offset]
        return found.ravel()


def _fresh(
    hashes: Integer[np.ndarray, "window row"], among: Bool[np.ndarray, "window row"]
) -> Bool[np.ndarray, "window row"]:
    """The first place of each context among some."""
    rows = np.flatnonzero(among.ravel())
    _, first = np.unique(hashes.ravel()[rows], return_index=True)
    fresh = np.zeros(hashes.size, dtype=bool)
    fresh[rows[first]] = True
    return fresh.reshape(hashes.shape)
