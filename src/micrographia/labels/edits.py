"""Minimal pairs: the same text with one token replaced, and whether the feature still is active.

If a rule names what makes a feature active, replacing that token by another of the text puts the feature out, and
replacing a token next to it, which the rule does not name, puts it out less. A rule about where a place stands is tried
by moving the place: other tokens are put in, or some are taken out, where its text, its line or its sentence starts.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Int64

from micrographia.atlas.strength import strengths
from micrographia.atlas.watch import Span, Watch
from micrographia.labels.crowd import Crowd
from micrographia.labels.exam import Exam
from micrographia.labels.rules import At, Where
from micrographia.labels.standing import numbers
from micrographia.labels.vocabulary import Vocabulary
from micrographia.labels.walk import Branch, Walk

__all__ = ["Remains", "remains"]

_NEXT = (-1, -2, -3, -4)
_NONE = np.array([-1])
_FARTHER = 8
"""By how many numbers at most a place is moved out of a stretch."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Remains:
    """What remains of the activation, as a share of it, on average over some places."""

    n: int
    named: float
    """When tokens that the rule names are replaced."""
    other: float
    """When a token next to them is."""

    @property
    def stands(self) -> bool:
        """Whether the claim does: less than half remains, and more where another token is replaced."""
        return self.named < 0.5 and self.named < self.other


def remains(
    rules: dict[int, Where | At],
    crowd: Crowd,
    exam: Exam,
    walk: Walk,
    watch: Watch,
    vocabulary: Vocabulary,
    places: int,
    seed: int,
) -> dict[int, Remains]:
    """Replace tokens at a few places of unseen documents where a rule is right; features without such places are left
    out."""
    chance = np.random.default_rng([seed, walk.layer, 3])
    branches: list[Branch] = []
    jobs: list[tuple[int, float]] = []
    for one, rule in rules.items():
        for row, strength in _right(one, rule, exam, walk, places, chance):
            if isinstance(rule, At):
                pair = _moved(row, rule, walk, vocabulary, exam, chance)
            else:
                pair = _pair(row, rule, walk, vocabulary, exam, chance)
            branches += pair
            jobs += [(one, strength)] * len(pair)
    if not jobs:
        return {}
    who = np.array([one for one, _ in jobs])
    after = _activations(walk, watch, branches, who)
    share = np.minimum(after / np.array([strength for _, strength in jobs]), 1.0)
    found: dict[int, Remains] = {}
    for one in rules:
        mine = share[who == one]
        if len(mine):
            found[one] = Remains(len(mine) // 2, float(mine[0::2].mean()), float(mine[1::2].mean()))
    return found


def _right(
    one: int, rule: Where | At, exam: Exam, walk: Walk, places: int, chance: np.random.Generator
) -> list[tuple[int, float]]:
    """Rows where the feature is active and the rule holds, in the windows to branch off; strong ones before others."""
    index, strength = exam.active(one)
    row = exam.rows[index]
    good = (exam.score(rule)[index] > 0) & np.isin(row // walk.reading.per_window, walk.branching)
    mixed = chance.permutation(np.flatnonzero(good))
    weak = strength[mixed] < (np.median(strength) if len(strength) else 0.0)
    some = mixed[np.argsort(weak, kind="stable")][:places]
    return [(int(row[i]), float(strength[i])) for i in some]


def _pair(
    row: int, rule: Where, walk: Walk, vocabulary: Vocabulary, exam: Exam, chance: np.random.Generator
) -> list[Branch]:
    """The named tokens replaced, and one that is not named: one before the place, else the place's own."""
    window, position = divmod(row, walk.reading.per_window)
    at = position + 1
    named = {each.offset: each.table(vocabulary) for each in rule.conditions}
    ids = walk.reading.ids[window]
    free = [offset for offset in _NEXT if offset not in named and at + offset > 0] or [0]
    if free[0] in named:
        return []
    new = {offset: _another(int(ids[at + offset]), exam, chance, table) for offset, table in named.items()}
    other = int(chance.choice(free))
    none = np.zeros(len(vocabulary.texts) + 1, dtype=bool)
    beside = {other: _another(int(ids[at + other]), exam, chance, none)}
    return [_branch(walk, window, at, change) for change in (new, beside)]


def _moved(
    row: int, rule: At, walk: Walk, vocabulary: Vocabulary, exam: Exam, chance: np.random.Generator
) -> list[Branch]:
    """The place moved out of the stretch, its own tokens as they are; and one of those replaced, where it is."""
    window, position = divmod(row, walk.reading.per_window)
    at, ids = position + 1, walk.reading.ids[window]
    starts, front = vocabulary.starts(rule.since)
    number = int(numbers(lambda offset: ids[[at + offset]] if at + offset >= 0 else _NONE, starts, front, rule.last)[0])
    start = at - number + 1
    more = rule.last - number + int(chance.integers(1, _FARTHER + 1))
    if at + more < len(ids):
        put = [_another(-1, exam, chance, starts) for _ in range(more)]
        moved = Branch(window, at + more, (*put, *ids[start : at + 1].tolist()))
    elif rule.first > 1:
        kept = int(chance.integers(1, rule.first))
        moved = Branch(window, start + kept - 1, tuple(ids[at - kept + 1 : at + 1].tolist()))
    else:
        return []
    other = -int(chance.integers(0, min(number, len(_NEXT))))
    beside = {other: _another(int(ids[at + other]), exam, chance, starts)}
    return [moved, _branch(walk, window, at, beside)]


def _another(token: int, exam: Exam, chance: np.random.Generator, named: np.ndarray) -> int:
    """A token of the text that the rule does not name."""
    tokens = exam.tokens(0)
    for candidate in chance.choice(tokens, 100).tolist():
        if candidate >= 0 and candidate != token and not named[candidate]:
            return int(candidate)
    allowed = np.flatnonzero(~named[:-1])
    return int(chance.choice(allowed[allowed != token]))


def _branch(walk: Walk, window: int, last: int, change: dict[int, int]) -> Branch:
    first = last + min(change)
    ids = walk.reading.ids[window, first : last + 1].tolist()
    for offset, token in change.items():
        ids[last + offset - first] = token
    return Branch(window, last, tuple(ids))


def _activations(
    walk: Walk, watch: Watch, branches: list[Branch], who: Int64[np.ndarray, " branch"]
) -> Float64[np.ndarray, " branch"]:
    """The activation of each branch's feature at its last position, 0 where it is not active."""
    act = walk.edited(branches, watch.site)
    found = np.zeros(len(branches))
    for first in range(0, len(act), 1024):
        some = act[first : first + 1024]
        active = watch(some[None, [0, *range(len(some))]], Span(0, 0))
        key = active.row * watch.n_features + active.feature
        wanted = np.arange(len(some)) * watch.n_features + who[first : first + 1024]
        at = np.minimum(np.searchsorted(key, wanted), max(len(key) - 1, 0))
        if len(key):
            value = strengths(active.code[at], watch.exponent)
            found[first : first + 1024] = np.where(key[at] == wanted, value, 0.0)
    return found
