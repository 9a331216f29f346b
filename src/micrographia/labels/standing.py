"""Where a place stands in its text, its line and its sentence: so many tokens behind the last start of one.

A text starts behind what stands in front of every prompt; a line behind a line break; a sentence behind a line break or
a token that ends in a full stop, and the like. What is the most surprising stretch of numbers among a feature's places
is held against that among as many random places, as is done with tokens.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias, final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from micrographia.atlas.text import Text
from micrographia.labels.shares import DRAWS, SIZES, Found, around, beyond_drawn, first_so_many, surprise
from micrographia.labels.vocabulary import Vocabulary

__all__ = ["LAST", "SINCE", "STRETCHES", "Since", "StandingNull", "numbers", "standing", "stretches"]

Since: TypeAlias = Literal["text", "line", "sentence"]
SINCE: tuple[Since, ...] = ("text", "line", "sentence")
LAST = 32
"""As far as tokens are counted."""
STRETCHES: tuple[tuple[Since, int, int], ...] = tuple(
    (since, first, last) for since in SINCE for first in range(1, LAST + 1) for last in range(first, LAST + 1)
)
"""All stretches of numbers, for each thing that is counted from."""
_PLACES = 200_000
_AT_ONCE = 256


def numbers(
    tokens: Callable[[int], Int64[np.ndarray, " place"]],
    starts: Bool[np.ndarray, " more"],
    front: int,
    most: int = LAST,
) -> Int64[np.ndarray, " place"]:
    """The number of each place behind the last token that something starts behind, 1 for the first; `most` + 1 where
    it is farther. The last entry of `starts` is for what stands before the first token; `front` of those behind it do
    not count."""
    found = np.full(len(tokens(0)), most + front + 1, dtype=np.int64)
    for back in range(most + front, 0, -1):
        found[starts[tokens(-back)]] = back
    return np.maximum(found - front, 0)


def standing(where: Int64[np.ndarray, "since feature example"], usual: Float64[np.ndarray, " stretch"]) -> Found:
    """The most surprising stretch for each feature, by its place in `STRETCHES`; a number of -1 is no place."""
    parts = [_standing(where[:, i : i + _AT_ONCE], usual) for i in range(0, max(where.shape[1], 1), _AT_ONCE)]
    names = ("which", "share", "corpus", "surprise", "entropy", "n")
    return Found(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@final
class StandingNull:
    """Where random places stand: the share of all in each stretch, and the largest surprises among some of them."""

    __slots__ = ("_sorted", "_text", "_vocabulary", "usual")

    def __init__(self, text: Text, places: Int64[np.ndarray, " place"], vocabulary: Vocabulary, seed: int) -> None:
        self._text, self._vocabulary = text, vocabulary
        chance = np.random.default_rng([seed, 5])
        some = self.where(chance.permutation(places)[:_PLACES][None])
        self.usual = np.clip(stretches(some)[0], 1e-9, 1 - 1e-9)
        """The share of places in each stretch."""
        drawn = self.where(chance.choice(places, (DRAWS, SIZES[-1])))
        self._sorted = {size: np.sort(standing(drawn[..., :size], self.usual).surprise) for size in SIZES}

    def where(self, places: Int64[np.ndarray, "one example"]) -> Int64[np.ndarray, "since one example"]:
        """The number of each place, for each thing that is counted from; -1 for the place -1."""
        flat = places.ravel()
        found = [
            numbers(lambda offset: around(self._text, flat, offset), starts, front)
            for starts, front in (self._vocabulary.starts(since) for since in SINCE)
        ]
        return np.where(places >= 0, np.stack(found).reshape(len(SINCE), *places.shape), -1)

    def p(self, where: Int64[np.ndarray, "since feature example"]) -> Float64[np.ndarray, " feature"]:
        """p-values of the most surprising stretch; of each feature the first so many places that a null has."""
        some, size = first_so_many(where[0] >= 0)
        found = standing(np.where(some, where, -1), self.usual).surprise
        return beyond_drawn(found, size, self._sorted)


def stretches(where: Int64[np.ndarray, "since feature example"]) -> Float64[np.ndarray, "feature stretch"]:
    """The share of the places of each in every stretch."""
    n = where.shape[1]
    width, few = LAST + 2, np.maximum((where[0] >= 0).sum(1), 1)
    first, last = np.array([stretch[1:] for stretch in STRETCHES[: len(STRETCHES) // len(SINCE)]]).T
    found: list[np.ndarray] = []
    for row in range(len(SINCE)):
        number = where[row]
        cell = np.arange(n, dtype=np.int64)[:, None] * width + number
        below = np.cumsum(np.bincount(cell[number >= 0], minlength=n * width).reshape(n, width), axis=1)
        found.append((below[:, last] - below[:, first - 1]) / few[:, None])
    return np.concatenate(found, axis=1)


def _standing(where: Int64[np.ndarray, "since feature example"], usual: Float64[np.ndarray, " stretch"]) -> Found:
    shares, n = stretches(where), (where[0] >= 0).sum(1)
    worth = surprise(shares, usual[None], n[:, None])
    which, row = worth.argmax(1), np.arange(len(n))
    entropy = np.array([_entropy(where[SINCE.index(STRETCHES[best][0]), i]) for i, best in enumerate(which.tolist())])
    return Found(which, shares[row, which], usual[which], worth[row, which], entropy, n)


def _entropy(number: Int64[np.ndarray, " example"]) -> float:
    """Of some numbers, in bits."""
    _, count = np.unique(number[number >= 0], return_counts=True)
    share = count / max(count.sum(), 1)
    return float(-(share * np.log2(share)).sum())
