"""Which tokens, and which classes of them, stand around the places of a feature more often than around any.

A token's surprise at a distance is n·KL(share ‖ corpus) over the places that have a token there: the exponent of the
chance that it stands at so many of them. The token or class with the largest surprise is held against the largest
surprise around as many random places of the same text, at the same distance. That is the p-value: it knows that the
best of many tokens was taken, that some are common, and how few places there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Int64

from micrographia.atlas.text import Text
from micrographia.labels.vocabulary import Vocabulary

__all__ = ["OFFSETS", "Found", "ShareNull", "around", "surprises"]

OFFSETS = tuple(range(-8, 9))
"""The distances that are looked at."""
_SIZES = (4, 6, 8, 12, 16, 24, 32, 48, 64)
_DRAWS = 2000
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
        drawn = np.random.default_rng(seed).choice(places, (_DRAWS, _SIZES[-1]))
        self._sorted: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        for offset in OFFSETS:
            tokens = around(text, drawn, offset)
            for size in _SIZES:
                token, kind = surprises(tokens[:, :size], vocabulary)
                self._sorted[offset, size] = np.sort(token.surprise), np.sort(kind.surprise)

    def p(
        self, tokens: Int64[np.ndarray, "feature example"], offset: int, vocabulary: Vocabulary
    ) -> tuple[Float64[np.ndarray, " feature"], Float64[np.ndarray, " feature"]]:
        """p-values of the most surprising token and class; of each feature the first so many places that a null has."""
        valid = tokens >= 0
        n = valid.sum(1)
        size = np.array([0, *_SIZES])[np.searchsorted(_SIZES, n, side="right")]
        some = np.where(valid & (np.cumsum(valid, axis=1) <= size[:, None]), tokens, -1)
        found = surprises(some, vocabulary)
        p = tuple(np.ones(len(tokens)) for _ in found)
        for each in _SIZES:
            rows = np.flatnonzero(size == each)
            for into, one, null in zip(p, found, self._sorted[offset, each], strict=True):
                reached = _DRAWS - np.searchsorted(null, one.surprise[rows], side="left")
                into[rows] = (reached + 1) / (_DRAWS + 1)
        return p[0], p[1]


def _surprises(tokens: Int64[np.ndarray, "feature example"], vocabulary: Vocabulary) -> tuple[Found, Found]:
    valid = tokens >= 0
    n = valid.sum(1)
    same = (tokens[:, :, None] == tokens[:, None, :]) & valid[:, None, :]
    count = np.where(valid, same.sum(2), 0)
    share = count / np.maximum(n, 1)[:, None]
    corpus = vocabulary.frequency[np.maximum(tokens, 0)]
    worth = np.where(valid, _surprise(share, corpus, n[:, None]), 0.0)
    best = worth.argmax(1)
    row = np.arange(len(tokens))
    bits = np.log2(np.where(valid & (count > 0), share, 1.0))
    entropy = np.where(n > 0, -(bits * valid).sum(1) / np.maximum(n, 1), 0.0)
    token = Found(tokens[row, best], share[row, best], corpus[row, best], worth[row, best], entropy, n)

    held = vocabulary.members[:, np.maximum(tokens, 0)] & valid
    shares = held.sum(2).T / np.maximum(n, 1)[:, None]
    usual = np.clip(vocabulary.members @ vocabulary.frequency, 1e-9, 1 - 1e-9)
    worths = _surprise(shares, usual[None], n[:, None])
    which = worths.argmax(1)
    return token, Found(which, shares[row, which], usual[which], worths[row, which], entropy, n)


def _surprise(
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
