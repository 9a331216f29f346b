"""What is known of one feature."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final, overload

import numpy as np
from jaxtyping import Float64, Int64, UInt8, UInt32

from micrographia.atlas.strength import bin_edges, widened
from micrographia.atlas.text import Text
from micrographia.ids import Layer, TokenId

__all__ = ["DECILES", "Beside", "Example", "Examples", "Feature", "Said", "share_weaker"]

DECILES = 10


@dataclass(frozen=True, slots=True)
class Said:
    """A token that a feature promotes or suppresses."""

    token: TokenId
    cosine: float
    """Between what the feature writes and what makes the token likelier: tokens are ranked by it."""
    logit: float
    """What a unit of activation adds to the token's logit, less the vocabulary's mean, at a norm scale of one."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A token that stands at some distance from where a feature is active."""

    token: TokenId
    share: float
    """Of the sample's places that have a token there."""


@dataclass(frozen=True, slots=True)
class Example:
    """One place where a feature is active, with the tokens around it."""

    tokens: tuple[TokenId, ...]
    activations: tuple[float, ...]
    """At each of these tokens, in steps of an eighth of an octave; 0 where the feature is not active."""
    at: int
    """Which of the tokens it is."""
    activation: float
    place: int
    document: int
    """The document's number in its split."""
    source: int
    """The source's number in the corpus."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Examples(Sequence[Example]):
    """Places where a feature is active; each is looked up in the text when it is taken."""

    text: Text
    place: UInt32[np.ndarray, " example"]
    activation: Float64[np.ndarray, " example"]
    near: UInt8[np.ndarray, "example span"]
    exponent: int
    before: int

    def __len__(self) -> int:
        return len(self.place)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> "Examples": ...
    def __getitem__(self, index: int | slice) -> "Example | Examples":
        if isinstance(index, slice):
            place, activation, near = self.place[index], self.activation[index], self.near[index]
            return Examples(self.text, place, activation, near, self.exponent, self.before)
        return self._example(int(self.place[index]), float(self.activation[index]), self.near[index])

    def chosen(self, index: Int64[np.ndarray, " some"]) -> "Examples":
        """Some of them."""
        place, activation, near = self.place[index], self.activation[index], self.near[index]
        return Examples(self.text, place, activation, near, self.exponent, self.before)

    def documents(self) -> Int64[np.ndarray, " example"]:
        """The document of each."""
        return np.array([self.text.document(place) for place in self.place.tolist()], dtype=np.int64)

    def tokens_at(self, offset: int) -> list[TokenId]:
        """The tokens at a distance from each place, where its window has one there."""
        found: list[TokenId] = []
        for place in self.place.tolist():
            window, position = divmod(place, self.text.length)
            if 0 <= position + offset < self.text.length:
                found.append(TokenId(int(self.text.ids[window, position + offset])))
        return found

    def _example(self, place: int, activation: float, near: UInt8[np.ndarray, " span"]) -> Example:
        tokens, at = self.text.tokens(place, self.before, len(near) - self.before - 1)
        first = self.before - at
        strengths = widened(np.ascontiguousarray(near[first : first + len(tokens)]), self.exponent)
        return Example(
            tokens=tuple(map(TokenId, tokens)),
            activations=tuple(strengths.tolist()),
            at=at,
            activation=activation,
            place=place,
            document=self.text.document(place),
            source=self.text.source(place),
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """One feature over a corpus. Activations are magnitudes; `negative` of them were below zero."""

    layer: Layer
    index: int
    count: int
    """Positions at which it is active, of `n_positions`."""
    n_positions: int
    mean: float
    """Of its activation where it is active."""
    mean_square: float
    largest: float
    negative: int
    exponent: int
    histogram: Int64[np.ndarray, " bin"]
    """How many activations lie between each two of `edges`; what lies beyond counts in the outer bins."""
    strongest: Examples
    """Where it is most active, strongest first; equal contexts once."""
    sample: Examples
    """A random sample of all places, equal contexts once."""
    promoted: tuple[Said, ...]
    suppressed: tuple[Said, ...]

    def __repr__(self) -> str:
        return f"<Feature {self.layer}/{self.index}: active at {self.density:.3g} of {self.n_positions:,} positions>"

    @property
    def density(self) -> float:
        """The share of positions at which it is active."""
        return self.count / self.n_positions

    @property
    def deviation(self) -> float:
        """The standard deviation of its activation where it is active."""
        return max(self.mean_square - self.mean**2, 0.0) ** 0.5

    @property
    def edges(self) -> Float64[np.ndarray, " edge"]:
        """Between the bins of the histogram."""
        return bin_edges(self.exponent)

    def weaker(self, activation: float) -> float:
        """The share of its activations that are weaker than this one, spread evenly over the octave inside a bin."""
        return float(share_weaker(self.histogram[None], self.exponent, np.array([activation]))[0])

    def quantile(self, share: float) -> float:
        """The activation that a share of all are weaker than."""
        if not self.count:
            return 0.0
        sums = np.append(0, np.cumsum(self.histogram))
        wanted = share * self.count
        bin_ = int(np.clip(np.searchsorted(sums, wanted, side="right") - 1, 0, len(self.histogram) - 1))
        inside = (wanted - sums[bin_]) / max(int(self.histogram[bin_]), 1)
        edges = self.edges
        return min(float(edges[bin_] * (edges[bin_ + 1] / edges[bin_]) ** inside), self.largest)

    def deciles(self) -> tuple[Examples, ...]:
        """The sample by tenths of all activations, weakest first."""
        tenth = np.array([self.decile(a) for a in self.sample.activation.tolist()], dtype=np.int64)
        return tuple(self.sample.chosen(np.flatnonzero(tenth == i)) for i in range(DECILES))

    def decile(self, activation: float) -> int:
        """The tenth of its activations that one belongs to, 0 the weakest."""
        return min(int(self.weaker(activation) * DECILES), DECILES - 1)

    def beside(self, offset: int = 0, *, top: int = 8) -> tuple[Beside, ...]:
        """The commonest tokens where it is active (0), behind that (1), before it (-1), and so on."""
        tokens = self.sample.tokens_at(offset)
        common = Counter(tokens).most_common(top)
        return tuple(Beside(token, n / len(tokens)) for token, n in common)


def share_weaker(
    histogram: Int64[np.ndarray, "feature bin"], exponent: int, activation: Float64[np.ndarray, " feature"]
) -> Float64[np.ndarray, " feature"]:
    """For one activation of each feature, the share of its activations that are weaker, by its histogram."""
    edges, row = bin_edges(exponent), np.arange(len(activation))
    at = np.clip(np.searchsorted(edges, activation, side="right") - 1, 0, histogram.shape[1] - 1)
    above = np.log2(np.maximum(activation, edges[at]) / edges[at]) / np.log2(edges[at + 1] / edges[at])
    below = np.cumsum(histogram, axis=1)[row, at] - histogram[row, at]
    share = (below + np.minimum(above, 1.0) * histogram[row, at]) / np.maximum(histogram.sum(1), 1)
    return np.where(activation > 0, share, 0.0)
