"""Interventions as people write them.

25.567@14=0           feature 567 of layer 25 at position 14 becomes 0
25.567@14=x2          … twice what it is
25.567@14=+3          … 3 more, and `=+-3` 3 less
error.12@5=0          the error there is gone; token@5, neuron.12.301@5 and head.23.4@14 likewise
25.567@9,10,11=0      at several positions; `9:12` is the same, -1 the last one
25.567@9:=+5          from position 9 on, and at every token that is written after the prompt
25.567=x0             at every position where it is active
"""

import math
import re
from collections.abc import Iterable, Sequence

from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.interventions import Change, Error, Feature, Head, Intervention, Neuron, Part, Step, Token

__all__ = ["read_intervention"]

_STEP = re.compile(
    r"(?:(?P<kind>error|token|neuron|head)\b\.?)?(?P<numbers>\d+(?:\.\d+)?)?(?:@(?P<where>[-\d,:]*))?"
    r"=(?P<how>[x+]?)(?P<value>[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)"
)
_NUMBERS = {None: 2, "error": 1, "token": 0, "neuron": 2, "head": 2}


def read_intervention(bench: Bench, words: str | Sequence[str]) -> Intervention:
    """Steps as people write them, on the prompt of this bench."""
    steps: list[Step] = []
    later: list[Step] = []
    for each in [words] if isinstance(words, str) else words:
        now, after = _read(bench, each)
        steps += now
        later += after
    return Intervention(tuple(steps), tuple(later))


def _read(bench: Bench, words: str) -> tuple[list[Step], list[Step]]:
    found = _STEP.fullmatch(words.strip())
    numbers = [] if found is None or found["numbers"] is None else [int(n) for n in found["numbers"].split(".")]
    if found is None or len(numbers) != _NUMBERS[found["kind"]]:
        raise CallError(
            f"{words!r} says no change. Write 25.567@14=0 (layer, feature, position, new value), =x2 to multiply, "
            "=+3 to add; error.12@5, token@5, neuron.12.301@5 and head.23.4@14 are changed likewise."
        )
    change = _change(found["how"], float(found["value"]), words)
    positions, onwards = _positions(bench, found["where"], words)
    parts = [_part(found["kind"], numbers, position) for position in positions]
    if isinstance(parts[0] if parts else None, Feature) and found["where"] is None and change.how == "scale":
        parts = [part for part in parts if isinstance(part, Feature) and _active(bench, part)]
        if not parts:
            raise CallError(
                f"Feature {found['numbers']} is active nowhere on this prompt: there is nothing to multiply."
            )
    later = [Step(_part(found["kind"], numbers, -1), change)] if onwards else []
    return [Step(part, change) for part in parts], later


def _change(how: str, value: float, words: str) -> Change:
    if not math.isfinite(value):
        raise CallError(f"{words!r} ends in a number that is not finite.")
    return Change("scale" if how == "x" else "add" if how == "+" else "set", value)


def _part(kind: str | None, numbers: Sequence[int], position: int) -> Part:
    match kind:
        case None:
            return Feature(numbers[0], numbers[1], position)
        case "error":
            return Error(numbers[0], position)
        case "token":
            return Token(position)
        case "neuron":
            return Neuron(numbers[0], numbers[1], position)
        case _:
            return Head(numbers[0], numbers[1], position)


def _active(bench: Bench, part: Feature) -> bool:
    bench.check_feature(part.layer, part.index)
    return float(bench.active(part.layer)[part.position, part.index]) != 0


def _positions(bench: Bench, where: str | None, words: str) -> tuple[Sequence[int], bool]:
    """The prompt's positions that are meant, and whether what is written after it is meant as well."""
    n = bench.n_positions
    if where is None:
        return range(n), False
    try:
        if ":" in where:
            start, stop = (int(end) if end else None for end in where.split(":"))
            return range(n)[slice(start, stop)], stop is None
        return list(_checked((int(position) for position in where.split(",")), n)), False
    except ValueError as error:
        raise CallError(
            f"{words!r} has no position after its @: write @14, @-1 for the last, @9,10,11 or @9:12."
        ) from error


def _checked(positions: Iterable[int], n: int) -> Iterable[int]:
    for position in positions:
        if not -n <= position < n:
            raise CallError(f"There is no position {position}: this prompt has {n} tokens, at 0 to {n - 1}.")
        yield position % n
