"""From the places where a feature is active, in the half of the documents that labels are made from, to a rule.

What stands there more often than anywhere names the conditions: the most surprising token at a distance with its kin,
or a class of tokens. Of single conditions, pairs of them, and stretches of its text, its line or its sentence, the one
is taken whose F1 is best, as far as these documents say: recall over the places, and how often the rule holds
elsewhere, by the text's counts and the density.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from micrographia.atlas.discoveries import passing
from micrographia.atlas.text import Text
from micrographia.labels.crowd import Crowd
from micrographia.labels.halves import Reading
from micrographia.labels.rules import REACH, At, Condition, Near, Where, rows_of
from micrographia.labels.shares import OFFSETS, Found, ShareNull, around, surprises
from micrographia.labels.standing import STRETCHES, StandingNull, standing, stretches
from micrographia.labels.vocabulary import CLASSES, Vocabulary

__all__ = ["Around", "Made", "Making"]

_LIFT = 3.0
_OFFSETS = 3
_ENOUGH = 0.8
_LEAST = 3
"""Places that a condition must hold at, in as many documents as places allow."""
_WORDS = 8
_Z = 3.0
_BETTER = 0.05
"""By how much the F1 of a rule must be better than a plainer one's."""


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A rule, and how good it looks where it was made."""

    rule: Where | At | Near
    strong: bool
    f1: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class Around:
    """The tokens around some places of every feature, and which of them are beyond chance."""

    tokens: dict[int, Int64[np.ndarray, "one example"]]
    token: dict[int, Found]
    kind: dict[int, Found]
    p_token: Float64[np.ndarray, "one offset"]
    p_kind: Float64[np.ndarray, "one offset"]
    where: Int64[np.ndarray, "since one example"]
    """Which token of its text, its line and its sentence each place is."""
    stretch: Found
    p_stretch: Float64[np.ndarray, "one 1"]

    @staticmethod
    def of(
        text: Text,
        places: Int64[np.ndarray, "one example"],
        vocabulary: Vocabulary,
        null: ShareNull,
        stands: StandingNull,
    ) -> "Around":
        tokens = {offset: around(text, places, offset) for offset in OFFSETS}
        found = {offset: surprises(each, vocabulary) for offset, each in tokens.items()}
        p = [null.p(each, offset, vocabulary) for offset, each in tokens.items()]
        where = stands.where(places)
        return Around(
            tokens,
            {offset: each[0] for offset, each in found.items()},
            {offset: each[1] for offset, each in found.items()},
            np.stack([each[0] for each in p], 1),
            np.stack([each[1] for each in p], 1),
            where,
            standing(where, stands.usual),
            stands.p(where)[:, None],
        )

    @property
    def p(self) -> Float64[np.ndarray, "one every"]:
        """All of them."""
        return np.concatenate([self.p_token, self.p_kind, self.p_stretch], axis=1)


@final
class Making:
    """Makes rules for the crowd of one layer."""

    __slots__ = ("_crowd", "_documents", "_fit", "_text", "_usual", "_vocabulary", "cut", "every", "strong")

    def __init__(
        self,
        crowd: Crowd,
        text: Text,
        reading: Reading,
        vocabulary: Vocabulary,
        null: ShareNull,
        stands: StandingNull,
        rate: float,
    ) -> None:
        self._crowd, self._vocabulary, self._text, self._usual = crowd, vocabulary, text, stands.usual
        self.every = Around.of(text, crowd.places, vocabulary, null, stands)
        self.strong = Around.of(text, crowd.strong, vocabulary, null, stands)
        self._fit = rows_of(reading, reading.fit)
        at = np.searchsorted(text.breaks, np.maximum(crowd.places, 0).astype(np.uint32), side="right") - 1
        self._documents = text.documents[at].astype(np.int64)
        n = crowd.n_features
        p = np.stack([each.p[:n] for each in (self.every, self.strong)])
        fallen = passing(p, rate)
        self.cut = float(p[fallen].max()) if fallen.any() else 0.0
        """The largest p-value that is beyond chance, among all features, distances, tokens, classes and stretches of
        the layer."""

    def reads(self, one: int, strong: bool) -> Made | None:
        """The best rule about tokens at one or two distances up to the place itself, or about where it stands, if any
        is beyond chance; of all its activations, or of its strongest three tenths."""
        tokens, at = self._where(one, strong), self._at(one, strong)
        if tokens is None or at is None:
            return tokens or at
        return at if at.f1 > tokens.f1 + _BETTER else tokens

    def _where(self, one: int, strong: bool) -> Made | None:
        singles = [
            (condition, self._f1(one, Where((condition,)), strong)) for condition in self._conditions(one, strong)
        ]
        if not singles:
            return None
        best, f1 = max(singles, key=lambda each: each[1])
        made = Made(Where((best,)), strong, f1)
        if f1 >= _ENOUGH:
            return made
        per_offset: dict[int, tuple[Condition, float]] = {}
        for condition, value in singles:
            if value > per_offset.get(condition.offset, (condition, -1.0))[1]:
                per_offset[condition.offset] = condition, value
        chosen = [condition for condition, _ in per_offset.values()]
        for i, first in enumerate(chosen):
            for second in chosen[i + 1 :]:
                pair = Where(tuple(sorted((first, second), key=lambda each: each.offset)))
                value = self._f1(one, pair, strong)
                if value > made.f1 + _BETTER:
                    made = Made(pair, strong, value)
        return made

    def near(self, one: int) -> Made | None:
        """Words that stand around the place more often than around any; None if too few do."""
        offsets = [offset for offset in range(-REACH, REACH + 1) if offset]
        tokens = np.stack([self.every.tokens[offset][one] for offset in offsets], 1)
        tokens = tokens[self.every.tokens[0][one] >= 0]
        n = len(tokens)
        if n < 2 * _LEAST:
            return None
        rows = [np.unique(row[row >= 0]) for row in tokens]
        found, count = np.unique(np.concatenate(rows), return_counts=True)
        usual = 1 - (1 - self._vocabulary.frequency[found]) ** len(offsets)
        odds = np.log((count + 0.5) / (n - count + 0.5)) - np.log(usual / (1 - usual))
        z = odds / np.sqrt(1 / (count + 0.5) + 1 / (n - count + 0.5))
        documents = self._documents[one][self.every.tokens[0][one] >= 0]
        good = [
            int(found[i])
            for i in np.argsort(-z, kind="stable")[: 2 * _WORDS]
            if z[i] >= _Z and count[i] >= _LEAST and len(set(documents[(tokens == found[i]).any(1)])) >= _LEAST
        ][:_WORDS]
        if len(good) < 2:
            return None
        scores = Near(tuple(good), 1).score(lambda offset: tokens[:, offsets.index(offset)], self._vocabulary)
        elsewhere = Near(tuple(good), 1).score(self._fit, self._vocabulary)
        youden = [float((scores >= k).mean() - (elsewhere >= k).mean()) for k in (1, 2, 3)]
        best = int(np.argmax(youden))
        return Made(Near(tuple(good), best + 1), False, youden[best]) if youden[best] > 0.2 else None

    def beyond(self, one: int) -> bool:
        """Whether anything around its places is beyond chance."""
        return any((its.p[one] <= self.cut).any() for its in (self.every, self.strong))

    def top(self, one: int) -> Int64[np.ndarray, " example"]:
        """The tokens of its strongest places, in order."""
        return around(self._text, self._crowd.top[one], 0)

    # ------------------------------------------------------------ parts

    def _conditions(self, one: int, strong: bool) -> Iterator[Condition]:
        its = self.strong if strong else self.every
        offsets = [offset for offset in OFFSETS if -REACH <= offset <= 0]
        worth = {o: max(float(its.token[o].surprise[one]), float(its.kind[o].surprise[one])) for o in offsets}
        for offset in sorted(offsets, key=lambda o: -worth[o])[:_OFFSETS]:
            column = OFFSETS.index(offset)
            if its.p_token[one, column] <= self.cut:
                yield from self._of_token(its.tokens[offset][one], int(its.token[offset].which[one]), offset)
            if its.p_kind[one, column] <= self.cut:
                yield Condition(offset, name=list(CLASSES)[int(its.kind[offset].which[one])])

    def _of_token(self, tokens: Int64[np.ndarray, " example"], seed: int, offset: int) -> Iterator[Condition]:
        """The token itself, and the token with its kin."""
        valid = tokens[tokens >= 0]
        found, count = np.unique(valid, return_counts=True)
        lifted = count / len(valid) >= _LIFT * self._vocabulary.frequency[found]
        found, count = found[lifted | (found == seed)], count[lifted | (found == seed)]
        kin = self._vocabulary.kin(seed, found)
        order = np.argsort(-count[kin], kind="stable")
        together = tuple(int(token) for token in found[kin][order])
        if int(count[found == seed].sum()) >= _LEAST:
            yield Condition(offset, (seed,))
        if len(together) > 1:
            yield Condition(offset, together)

    def _at(self, one: int, strong: bool) -> Made | None:
        """The stretch with the best F1."""
        its = self.strong if strong else self.every
        if its.p_stretch[one, 0] > self.cut:
            return None
        shares = [stretches(each.where[:, one : one + 1])[0] for each in (self.every, self.strong)]
        n = int((its.where[0, one] >= 0).sum())
        f1 = self._worth(one, shares[0], self._usual, shares[1] if strong else None)
        f1 = np.where(shares[strong] * n >= _LEAST, f1, 0.0)
        best = int(f1.argmax())
        return Made(At(*STRETCHES[best]), strong, float(f1[best])) if f1[best] > 0 else None

    def _f1(self, one: int, rule: Where, strong: bool) -> float:
        """F1 as the half that rules are made from lets expect it."""
        hits = self._hits(self.every, one, rule)
        among = self._hits(self.strong, one, rule) if strong else hits
        if among.sum() < _LEAST:
            return 0.0
        share = [np.array([each.mean() if len(each) else 0.0]) for each in (hits, among)]
        return float(self._worth(one, share[0], np.array([self._holds(rule)]), share[1] if strong else None)[0])

    def _worth(
        self,
        one: int,
        recall: Float64[np.ndarray, " rule"],
        holds: Float64[np.ndarray, " rule"],
        strong: Float64[np.ndarray, " rule"] | None,
    ) -> Float64[np.ndarray, " rule"]:
        """F1 of rules by their recall, their share of all places, and their recall among the strongest, if those are
        what they are about."""
        density = float(self._crowd.density[one])
        holds = np.maximum(holds, recall * density)
        if strong is not None:
            elsewhere, density = holds - recall * density, 0.3 * density
            recall, holds = strong, strong * density + elsewhere
        precision = recall * density / np.maximum(holds, 1e-12)
        return 2 * precision * recall / np.maximum(precision + recall, 1e-12)

    def _hits(self, its: Around, one: int, rule: Where) -> Bool[np.ndarray, " example"]:
        there = its.tokens[0][one] >= 0
        return rule.score(lambda offset: its.tokens[offset][one][there], self._vocabulary) > 0

    def _holds(self, rule: Where) -> float:
        """The share of places where a rule holds: by the counts of tokens, or of pairs in what was read anew."""
        if len(rule.conditions) == 1:
            return float(rule.conditions[0].table(self._vocabulary)[:-1] @ self._vocabulary.frequency)
        found = rule.score(self._fit, self._vocabulary)
        return (float(found.sum()) + 0.5) / (len(found) + 1)
