"""A feature in the words of those who draw it: tokens as text, evenly spaced bins, examples by strength."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from micrographia.atlas.feature import DECILES, Example, Examples, Feature, Said, share_weaker
from micrographia.model.tokens import Tokenizer

__all__ = ["PER_DECILE", "Bars", "Group", "Words", "bars", "groups"]

PER_DECILE = 5


@final
class Words:
    """Tokens as text. Bytes that are no whole characters are written `\\xe2`, as circuit-tracer's page joins them."""

    __slots__ = ("_known", "_tokenizer")

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, str] = {}

    def __call__(self, token: int) -> str:
        if token not in self._known:
            self._known[token] = self._tokenizer.raw(token).decode("utf-8", "backslashreplace")
        return self._known[token]

    def said(self, said: tuple[Said, ...]) -> list[str]:
        return [self(each.token) for each in said]

    def tokens(self, example: Example) -> list[str]:
        return [self(token) for token in example.tokens]


@dataclass(frozen=True, slots=True)
class Group:
    """Examples of like strength."""

    name: str
    low: float
    high: float
    share: float
    """Of the feature's activations."""
    examples: Examples
    strongest: bool


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram of evenly spaced bins."""

    low: float
    high: float
    counts: list[float]

    @property
    def middles(self) -> list[float]:
        step = (self.high - self.low) / len(self.counts)
        return [self.low + (i + 0.5) * step for i in range(len(self.counts))]


def bars(feature: Feature, n: int = 40) -> Bars:
    """The histogram with evenly spaced bins; within an octave's quarter, activations are taken as evenly spread."""
    if not feature.count:
        return Bars(0.0, 0.0, [0.0] * n)
    low, high = feature.quantile(0.0), feature.largest
    edges = np.linspace(low, high, n + 1)
    shares = share_weaker(np.repeat(feature.histogram[None], n + 1, axis=0), feature.exponent, edges)
    shares[0], shares[-1] = 0.0, 1.0
    return Bars(low, high, [max(share, 0.0) * feature.count for share in np.diff(shares).tolist()])


def groups(feature: Feature) -> Iterator[Group]:
    """The strongest places, then a sample of every tenth of all activations, strongest first."""
    if not feature.count:
        return
    yield Group("Top activations", feature.quantile(1.0), feature.largest, 0.0, feature.strongest, strongest=True)
    deciles = feature.deciles()
    for i in reversed(range(DECILES)):
        low, high = feature.quantile(i / DECILES), feature.quantile((i + 1) / DECILES)
        if len(deciles[i]):
            yield Group(f"Decile {i + 1}", low, high, 1 / DECILES, deciles[i][:PER_DECILE], strongest=False)
