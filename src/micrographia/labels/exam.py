"""Whether a rule says where a feature is active, in documents that the rule was not made from.

Every place of the text read anew counts, not a sample of it: so recall, precision and the chance of one place to rank
above another are those of the text, with its base rate. Beside each figure stand what shuffled labels, the commonest
token of the strongest places, and random directions reach, by the same steps on the same places.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from micrographia.labels.crowd import Crowd
from micrographia.labels.halves import Reading
from micrographia.labels.rules import Condition, Near, Rule, Where, rows_of
from micrographia.labels.vocabulary import Vocabulary

__all__ = ["FEWEST", "FEWEST_DOCUMENTS", "Exam", "Marks", "least_of"]

FEWEST = 20
"""Places in unseen documents without which nothing is said of a feature."""
FEWEST_DOCUMENTS = 5
"""And documents that these places are in."""
_REDRAWN = 200
_MOST = 4


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """How one rule did."""

    n: int
    documents: int
    base: float
    recall: float
    precision: float
    f1: float
    auc: float
    hard: float | None
    alike: float | None
    low: float
    high: float
    deciles: tuple[float | None, ...]


@final
class Exam:
    """The rows of the half that labels are tested on, for the crowd of one layer."""

    __slots__ = ("_again", "_crowd", "_document", "_index", "_n_documents", "_vocabulary", "rows", "tokens")

    def __init__(self, crowd: Crowd, reading: Reading, vocabulary: Vocabulary, seed: int) -> None:
        self._crowd, self._vocabulary = crowd, vocabulary
        self.rows = np.flatnonzero(reading.held.ravel())
        self.tokens = rows_of(reading, reading.held)
        self._index = np.full(reading.held.size, -1, dtype=np.int64)
        self._index[self.rows] = np.arange(len(self.rows))
        known, self._document = np.unique(reading.documents.ravel()[self.rows], return_inverse=True)
        self._n_documents = len(known)
        share = np.full(len(known), 1 / len(known))
        self._again = np.random.default_rng(seed).multinomial(len(known), share, _REDRAWN).astype(np.float64)

    def active(self, one: int) -> tuple[Int64[np.ndarray, " place"], Float64[np.ndarray, " place"]]:
        """Which of the rows one is active at, and how strongly."""
        here = self._crowd.entries(one)
        index = self._index[self._crowd.row[here]]
        return index[index >= 0], self._crowd.strength[here][index >= 0]

    def signs(self, one: int) -> Float64[np.ndarray, " place"]:
        """The signs of its activations there."""
        here = self._crowd.entries(one)
        return self._crowd.sign[here][self._index[self._crowd.row[here]] >= 0]

    def documents(self, one: int) -> int:
        """How many documents one is active in."""
        return len(np.unique(self._document[self.active(one)[0]]))

    def score(self, rule: Rule) -> Int64[np.ndarray, " row"]:
        """What a rule gives each row."""
        return np.minimum(rule.score(self.tokens, self._vocabulary), _MOST)

    def marks(
        self, one: int, score: Int64[np.ndarray, " row"], least: int, strong: bool, seen: Int64[np.ndarray, " token"]
    ) -> Marks | None:
        """How a rule does for one by what it gives each row, if it holds from `least` on; None with too few places.
        `seen` are tokens on which it was active before."""
        index, strength = self.active(one)
        if len(index) < FEWEST or self.documents(one) < FEWEST_DOCUMENTS:
            return None
        tenth = _tenths(strength)
        off = np.ones(len(score), dtype=bool)
        off[index] = False
        wanted = index[tenth >= 7] if strong else index
        member = np.zeros(len(score), dtype=bool)
        member[wanted] = True
        hits = score[index] >= least
        deciles = tuple(float(hits[tenth == i].mean()) if (tenth == i).any() else None for i in range(10))
        above = np.flatnonzero(score)
        on, rest, *strata = (
            _counted(score, above, some)
            for some in (member, off, off & self._on(seen), off & self._on(self._vocabulary.alike(seen)))
        )
        tp, fp = int(on[least:].sum()), int(rest[least:].sum())
        recall, precision = tp / len(wanted), tp / max(tp + fp, 1)
        hard = [float(_auc(on, some)) if some.sum() >= FEWEST else None for some in strata]
        low, high = self._interval(score, above, member, off)
        return Marks(
            n=len(wanted),
            documents=len(np.unique(self._document[wanted])),
            base=len(wanted) / (len(wanted) + int(off.sum())),
            recall=recall,
            precision=precision,
            f1=2 * precision * recall / max(precision + recall, 1e-12),
            auc=float(_auc(on, rest)),
            hard=hard[0],
            alike=hard[1],
            low=low,
            high=high,
            deciles=deciles,
        )

    def shuffled(
        self, one: int, strong: bool, hits: Bool[np.ndarray, "rule row"], chosen: Int64[np.ndarray, " some"]
    ) -> float:
        """The mean area under the curve of other features' rules; a half without any."""
        if not len(chosen):
            return 0.5
        index, strength = self.active(one)
        wanted = index[_tenths(strength) >= 7] if strong else index
        some = hits[chosen]
        on, total = some[:, wanted].sum(1), some.sum(1)
        inside = some[:, index].sum(1)
        recall, false = on / len(wanted), (total - inside) / max(hits.shape[1] - len(index), 1)
        return float(((recall + 1 - false) / 2).mean())

    def top_token(self, one: int, strong: bool, tokens: Int64[np.ndarray, " example"]) -> float:
        """How the commonest token of the five strongest places does as a rule."""
        index, strength = self.active(one)
        wanted = index[_tenths(strength) >= 7] if strong else index
        there = tokens[tokens >= 0][:5]
        if not len(there) or not len(wanted):
            return 0.5
        found, count = np.unique(there, return_counts=True)
        hits = self.score(Where((Condition(0, (int(found[count.argmax()]),)),))) > 0
        off = np.ones(len(hits), dtype=bool)
        off[index] = False
        return float((hits[wanted].mean() + 1 - hits[off].mean()) / 2)

    def _on(self, tokens: Int64[np.ndarray, " token"]) -> Bool[np.ndarray, " row"]:
        """Which of the rows are on some tokens."""
        table = np.zeros(len(self._vocabulary.texts) + 1, dtype=bool)
        table[tokens] = True
        return table[self.tokens(0)]

    def _interval(
        self,
        score: Int64[np.ndarray, " row"],
        above: Int64[np.ndarray, " hit"],
        wanted: Bool[np.ndarray, " row"],
        off: Bool[np.ndarray, " row"],
    ) -> tuple[float, float]:
        """The middle 95 % of the area under the curve, documents drawn anew."""
        n, width = self._n_documents, _MOST + 1
        drawn: list[np.ndarray] = []
        for some in (wanted, off):
            rows = above[some[above]]
            counts = np.bincount(self._document[rows] * width + score[rows], minlength=n * width).reshape(n, width)
            counts[:, 0] = np.bincount(self._document[some], minlength=n) - counts.sum(1)
            drawn.append(self._again @ counts)
        on, rest = drawn
        low, high = np.quantile(_auc(on, rest)[(on.sum(1) > 0) & (rest.sum(1) > 0)], [0.025, 0.975])
        return float(low), float(high)


def _counted(
    score: Int64[np.ndarray, " row"], above: Int64[np.ndarray, " hit"], some: Bool[np.ndarray, " row"]
) -> Int64[np.ndarray, " score"]:
    """How many of some rows have each score; `above` are all rows with one above 0, which are few."""
    counts = np.bincount(score[above[some[above]]], minlength=_MOST + 1)
    counts[0] = np.count_nonzero(some) - counts.sum()
    return counts


def _auc(on: np.ndarray, off: np.ndarray) -> np.ndarray:
    """How often a place with the one scores is above one with the other, by how many have each score; equals count
    half."""
    below = np.cumsum(off, axis=-1) - off
    return np.asarray((on * (below + off / 2)).sum(-1) / np.maximum(on.sum(-1) * off.sum(-1), 1e-12))


def least_of(rule: Rule) -> int:
    """The score from which on a rule holds."""
    return rule.least if isinstance(rule, Near) else 1


def _tenths(strength: Float64[np.ndarray, " place"]) -> Int64[np.ndarray, " place"]:
    """Which tenth of the strengths each belongs to, 0 the weakest."""
    rank = np.argsort(np.argsort(strength, kind="stable"), kind="stable")
    return rank * 10 // max(len(strength), 1)
