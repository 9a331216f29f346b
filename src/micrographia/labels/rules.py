"""Rules: what a label says about the text, in a form that can be right or wrong at every place.

A rule names tokens, or a class of them, at one distance up to the place itself, or at two; or which token of its text,
its line or its sentence the place is; or words of which some stand in the window around it. Written: `0=10,20` and
`-1=5 & 0={a capitalised word}` (token ids), `1-4 of text`, `near=7,8,9 x2`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
from jaxtyping import Bool, Int64

from micrographia.errors import CallError
from micrographia.labels.halves import Reading
from micrographia.labels.standing import Since, numbers
from micrographia.labels.vocabulary import CLASSES, Vocabulary

__all__ = ["REACH", "At", "Condition", "Near", "Rule", "Tokens", "Where", "parse_rule", "rows_of"]

REACH = 8
"""How far words around a place may stand from it."""
Tokens: TypeAlias = Callable[[int], Int64[np.ndarray, " place"]]
"""The tokens at a distance from some places; -1 where there is none."""
_CONDITION = re.compile(r"(-?\d+)=(?:\{(.+)\}|(\d+(?:,\d+)*))")
_AT = re.compile(r"([1-9]\d*)-([1-9]\d*) of (text|line|sentence)")
_NEAR = re.compile(r"near=(\d+(?:,\d+)*) x(\d+)")


@dataclass(frozen=True, slots=True)
class Condition:
    """One of some tokens, or a member of a class, stands at a distance."""

    offset: int
    tokens: tuple[int, ...] = ()
    name: str = ""
    """The class, if it is one."""

    def __str__(self) -> str:
        return f"{self.offset}={'{' + self.name + '}' if self.name else ','.join(map(str, self.tokens))}"

    def table(self, vocabulary: Vocabulary) -> Bool[np.ndarray, " more"]:
        """For every token whether it fulfils this; at the end, for no token, it does not."""
        n = len(vocabulary.texts)
        found = np.zeros(n + 1, dtype=bool)
        if self.name:
            found[:n] = vocabulary.members[list(CLASSES).index(self.name)]
        else:
            found[list(self.tokens)] = True
        return found

    def words(self, vocabulary: Vocabulary) -> str:
        return self.name or vocabulary.words(self.tokens)


@dataclass(frozen=True, slots=True)
class Where:
    """All of these hold."""

    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        return " & ".join(map(str, self.conditions))

    def score(self, tokens: Tokens, vocabulary: Vocabulary) -> Int64[np.ndarray, " place"]:
        """1 where it holds, 0 where it does not."""
        found: Bool[np.ndarray, " place"] | None = None
        for each in self.conditions:
            here = each.table(vocabulary)[tokens(each.offset)]
            found = here if found is None else found & here
        assert found is not None, "a rule has a condition"
        return found.astype(np.int64)

    def words(self, vocabulary: Vocabulary) -> str:
        """`years / months`, `a capitalised word after Mr`, `2 tokens after not`."""
        *others, last = sorted(self.conditions, key=lambda each: each.offset)
        if last.offset < 0:
            others, head = [*others, last], ""
        else:
            head = last.words(vocabulary)
        tail = " and ".join(f"{_behind(each.offset)} {each.words(vocabulary)}" for each in reversed(others))
        return f"{head} {tail}".strip()


@dataclass(frozen=True, slots=True)
class At:
    """The place is one of some tokens of its text, its line or its sentence, which are counted from 1."""

    since: Since
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last} of {self.since}"

    def score(self, tokens: Tokens, vocabulary: Vocabulary) -> Int64[np.ndarray, " place"]:
        """1 where it holds, 0 where it does not."""
        number = numbers(tokens, *vocabulary.starts(self.since), self.last)
        return ((number >= self.first) & (number <= self.last)).astype(np.int64)

    def words(self, vocabulary: Vocabulary | None = None) -> str:
        """`the first token of a line`, `tokens 3 to 5 of the text`."""
        of = "the text" if self.since == "text" else f"a {self.since}"
        if self.first == 1:
            return f"the first token of {of}" if self.last == 1 else f"the first {self.last} tokens of {of}"
        return (
            f"token {self.first} of {of}" if self.first == self.last else f"tokens {self.first} to {self.last} of {of}"
        )


@dataclass(frozen=True, slots=True)
class Near:
    """At least so many of some words stand around the place."""

    tokens: tuple[int, ...]
    least: int

    def __str__(self) -> str:
        return f"near={','.join(map(str, self.tokens))} x{self.least}"

    def score(self, tokens: Tokens, vocabulary: Vocabulary) -> Int64[np.ndarray, " place"]:
        """How many of them stand there; the place itself does not count."""
        table = Condition(0, self.tokens).table(vocabulary).astype(np.uint8)
        found = table[tokens(-REACH)]  # of sixteen places at most
        for offset in (*range(1 - REACH, 0), *range(1, REACH + 1)):
            found = found + table[tokens(offset)]
        return found.astype(np.int64)

    def words(self, vocabulary: Vocabulary) -> str:
        return f"near {vocabulary.words(self.tokens, most=5)}"


Rule: TypeAlias = Where | At | Near


def parse_rule(text: str) -> Rule:
    """The rule that was written down."""
    if near := _NEAR.fullmatch(text):
        return Near(_numbers(near[1]), int(near[2]))
    if at := _AT.fullmatch(text):
        return At(cast("Since", at[3]), int(at[1]), int(at[2]))
    found: list[Condition] = []
    for part in text.split(" & "):
        match = _CONDITION.fullmatch(part)
        if match is None or (match[2] and match[2] not in CLASSES):
            raise CallError(
                f"{part!r} is no rule: it is written '0=10,20', '-1=5 & 0={{a digit}}', '1-4 of text' or 'near=7,8 x2'."
            )
        found.append(Condition(int(match[1]), _numbers(match[3]) if match[3] else (), match[2] or ""))
    return Where(tuple(found))


def rows_of(reading: Reading, chosen: Bool[np.ndarray, "window row"]) -> Tokens:
    """The tokens around some rows of a reading, each distance looked up once."""
    rows = np.flatnonzero(chosen.ravel())
    known: dict[int, Int64[np.ndarray, " row"]] = {}

    def tokens(offset: int) -> Int64[np.ndarray, " row"]:
        if offset not in known:
            known[offset] = reading.tokens(offset)[rows]
        return known[offset]

    return tokens


def _behind(offset: int) -> str:
    return "after" if offset == -1 else f"{-offset} tokens after"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))
