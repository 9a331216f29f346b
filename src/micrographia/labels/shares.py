"""Which tokens, and which classes of them, stand around the places of a feature more often than around any.

A token's surprise at a distance is n·KL(share ‖ corpus) over the places that have a token there: the exponent of the
chance that it stands at so many of them. The token or class with the largest surprise is held against the largest
surprise around as many random places of the same text, at the same distance. That is the p-value: it knows that the
best of many tokens was taken, that some are common, and how few places there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from micrographia.atlas.text import Text
from micrographia.labels.vocabulary import Vocabulary

__all__ = [
    "DRAWS",
    "OFFSETS",
    "SIZES",
    "Found",
    "ShareNull",
    "around",
    "beyond_drawn",
    "first_so_many",
    "surprise",
    "surprises",
]

OFFSETS = tuple(range(-8, 9))
"""The distances that are looked at."""
SIZES = (4, 6, 8, 12, 16, 24, 32, 48, 64)
"""The numbers of places that a null has."""
DRAWS = 2000
"""Sets of random places of each size."""
_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The most surprising token, or class, for each feature at one distance."""

    which: Int64[np.ndarray, " feature"]
    """The token, or the number of the class."""
    share: Float64[np.ndarray, " feature"]
    corpus: Float64[np.ndarray, " feature"]
    surprise: Float64[np.ndarray, " feature"]
    entropy: Float64[np.ndarray, " feature"]
    n: Int64[np.ndarray, " feature"]

    @property
    def odds(self) -> Float64[np.ndarray, " feature"]:
        """The logarithm of the odds between share and corpus, with half a place added to either side."""
        hits = self.share * self.n
        return np.log((hits + 0.5) / (self.n - hits + 0.5)) - np.log(self.corpus / (1 - self.corpus))


def around(text: Text, places: Int64[np.ndarray, "*shape"], offset: int) -> Int64[np.ndarray, "*shape"]:
    """The tokens at a distance from places; -1 where there is none, and for the place -1."""
    window, position = np.divmod(np.maximum(places, 0), text.length)
    there = position + offset
    inside = (places >= 0) & (there >= 0) & (there < text.length)
    return np.where(inside, text.ids[window, np.where(inside, there, 0)].astype(np.int64), -1)


def surprises(tokens: Int64[np.ndarray, "feature example"], vocabulary: Vocabulary) -> tuple[Found, Found]:
    """The most surprising token, and the most surprising class, around the places of each feature; -1 is no token."""
    parts = [_surprises(part, vocabulary) for part in np.split(tokens, range(_AT_ONCE, len(tokens), _AT_ONCE))]
    return _joined([part[0] for part in parts]), _joined([part[1] for part in parts])


@final
class ShareNull:
    """The largest surprises around random places, at each distance, for several numbers of places."""

    __slots__ = ("_sorted",)

    def __init__(self, text: Text, places: Int64[np.ndarray, " place"], vocabulary: Vocabulary, seed: int) -> None:
        drawn = np.random.default_rng(seed).choice(places, (DRAWS, SIZES[-1]))
        self._sorted: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        for offset in OFFSETS:
            tokens = around(text, drawn, offset)
            for size in SIZES:
                token, kind = surprises(tokens[:, :size], vocabulary)
                self._sorted[offset, size] = np.sort(token.surprise), np.sort(kind.surprise)

    def p(
        self, tokens: Int64[np.ndarray, "feature example"], offset: int, vocabulary: Vocabulary
    ) -> tuple[Float64[np.ndarray, " feature"], Float64[np.ndarray, " feature"]]:
        """p-values of the most surprising token and class; of each feature the first so many places that a null has."""
        kept, size = first_so_many(tokens >= 0)
        found = surprises(np.where(kept, tokens, -1), vocabulary)
        null = [{each: self._sorted[offset, each][i] for each in SIZES} for i in range(2)]
        return beyond_drawn(found[0].surprise, size, null[0]), beyond_drawn(found[1].surprise, size, null[1])


def first_so_many(
    valid: Bool[np.ndarray, "feature example"],
) -> tuple[Bool[np.ndarray, "feature example"], Int64[np.ndarray, " feature"]]:
    """Of each feature's places the first so many that a null has, and how many those are."""
    size = np.array([0, *SIZES])[np.searchsorted(SIZES, valid.sum(1), side="right")]
    return valid & (np.cumsum(valid, axis=1) <= size[:, None]), size


def beyond_drawn(
    found: Float64[np.ndarray, " feature"],
    size: Int64[np.ndarray, " feature"],
    null: Mapping[int, Float64[np.ndarray, " draw"]],
) -> Float64[np.ndarray, " feature"]:
    """How often as many random places reach what was found; 1 for too few places. The null is sorted, by size."""
    p = np.ones(len(found))
    for each, drawn in null.items():
        rows = np.flatnonzero(size == each)
        p[rows] = (len(drawn) - np.searchsorted(drawn, found[rows], side="left") + 1) / (len(drawn) + 1)
    return p


def _surprises(tokens: Int64[np.ndarray, "feature example"], vocabulary: Vocabulary) -> tuple[Found, Found]:
    valid = tokens >= 0
    n = valid.sum(1)
    same = (tokens[:, :, None] == tokens[:, None, :]) & valid[:, None, :]
    count = np.where(valid, same.sum(2), 0)
    share = count / np.maximum(n, 1)[:, None]
    corpus = vocabulary.frequency[np.maximum(tokens, 0)]
    worth = np.where(valid, surprise(share, corpus, n[:, None]), 0.0)
    best = worth.argmax(1)
    row = np.arange(len(tokens))
    bits = np.log2(np.where(valid & (count > 0), share, 1.0))
    entropy = np.where(n > 0, -(bits * valid).sum(1) / np.maximum(n, 1), 0.0)
    token = Found(tokens[row, best], share[row, best], corpus[row, best], worth[row, best], entropy, n)

    held = vocabulary.members[:, np.maximum(tokens, 0)] & valid
    shares = held.sum(2).T / np.maximum(n, 1)[:, None]
    usual = np.clip(vocabulary.members @ vocabulary.frequency, 1e-9, 1 - 1e-9)
    worths = surprise(shares, usual[None], n[:, None])
    which = worths.argmax(1)
    return token, Found(which, shares[row, which], usual[which], worths[row, which], entropy, n)


def surprise(
    share: Float64[np.ndarray, "feature one"],
    corpus: Float64[np.ndarray, "#feature one"],
    n: Int64[np.ndarray, "feature 1"],
) -> Float64[np.ndarray, "feature one"]:
    """n·KL(share ‖ corpus) where the share is larger; else 0."""
    share_, corpus_ = np.clip(share, 1e-12, 1 - 1e-12), np.clip(corpus, 1e-12, 1 - 1e-12)
    kl = share_ * np.log(share_ / corpus_) + (1 - share_) * np.log((1 - share_) / (1 - corpus_))
    return np.where(share > corpus, n * kl, 0.0)


def _joined(parts: Sequence[Found]) -> Found:
    names = ("which", "share", "corpus", "surprise", "entropy", "n")
    return Found(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
