"""The tree of errors is the one that is drawn, and every leaf says how a command ends."""

import re

import pytest

from micrographia import errors
from micrographia.errors import CallError, MicrographiaError, WorkError

EVERY = [getattr(errors, name) for name in errors.__all__]


def drawn() -> dict[str, str | None]:
    """Child → parent, as the picture at the top of the file has it."""
    parents: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│├└─ ]*)(\w+Error)\b", line)
        if found is None:
            continue
        depth, name = len(found[1]), found[2]
        path = [step for step in path if step[0] < depth]
        parents[name] = path[-1][1] if path else None
        path.append((depth, name))
    return parents


def test_the_tree_is_the_one_that_is_drawn() -> None:
    parents = drawn()
    assert set(parents) == set(errors.__all__)
    for kind in EVERY:
        above = kind.__bases__[0].__name__
        assert (above if above in parents else None) == parents[kind.__name__], kind


def test_every_error_is_either_a_wrong_call_or_failed_work() -> None:
    for kind in EVERY:
        if kind is not MicrographiaError:
            assert issubclass(kind, CallError) != issubclass(kind, WorkError)
            assert kind.exit_code == (2 if issubclass(kind, CallError) else 1)


@pytest.mark.parametrize("kind", EVERY)
def test_an_error_says_what_it_is_for_and_keeps_its_sentence(kind: type[MicrographiaError]) -> None:
    assert (kind.__doc__ or "").endswith(".")
    with pytest.raises(MicrographiaError, match=r"^What was wrong$"):
        raise kind("What was wrong")


def test_they_are_nobody_elses_errors() -> None:
    """`except ValueError` around our calls must not hide them."""
    assert {base for kind in EVERY for base in kind.__mro__} - set(EVERY) == {Exception, BaseException, object}
