"""How two files of labels differ: what one names and the other does not, and what they name differently."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from micrographia.errors import CallError
from micrographia.labels.label import Kind, Label
from micrographia.labels.store import LabelBook

__all__ = ["Change", "Difference", "difference"]


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A feature of which the two say different things; None where one says nothing."""

    before: Label | None
    after: Label | None

    @property
    def place(self) -> tuple[int, int]:
        label = self.before or self.after
        assert label is not None, "one of the two says something"
        return label.layer, label.index


@final
@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """What changed, and how often one kind became another."""

    n: int
    """Features that at least one of the two knows."""
    kinds: Mapping[tuple[Kind | None, Kind | None], int]
    changes: tuple[Change, ...]
    """Of kind or name, in the order of features."""


def difference(before: LabelBook, after: LabelBook) -> Difference:
    """Compare two files of labels of one basis."""
    first, second = ({each.basis_fingerprint for each in book.provenances().values()} for book in (before, after))
    if first and second and first != second:
        raise CallError(f"{before.path} and {after.path} are about the features of different bases.")
    kinds: Counter[tuple[Kind | None, Kind | None]] = Counter()
    changes: list[Change] = []
    for layer in sorted({*before.layers, *after.layers}):
        old, new = before.labels(layer), after.labels(layer)
        for index in sorted({*old, *new}):
            was, now = old.get(index), new.get(index)
            kinds[was and was.kind, now and now.kind] += 1
            if (was and (was.kind, was.text)) != (now and (now.kind, now.text)):
                changes.append(Change(was, now))
    return Difference(sum(kinds.values()), kinds, tuple(changes))
