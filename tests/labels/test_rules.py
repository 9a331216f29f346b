"""A rule holds where a slow reading of the text says so, and is read back as it was written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from micrographia.atlas.atlas import Atlas
from micrographia.errors import CallError
from micrographia.labels.halves import Halves
from micrographia.labels.rules import At, Condition, Near, Where, parse_rule, rows_of
from micrographia.labels.standing import STRETCHES
from micrographia.labels.vocabulary import CLASSES, Vocabulary
from micrographia.model.model import Model

tokens = some.lists(some.integers(0, 79), min_size=1, max_size=4, unique=True).map(tuple)
conditions = some.tuples(some.integers(-8, 0), some.one_of(tokens, some.sampled_from(list(CLASSES))))


def condition(offset: int, what: tuple[int, ...] | str) -> Condition:
    return Condition(offset, name=what) if isinstance(what, str) else Condition(offset, what)


@given(some.lists(conditions, min_size=1, max_size=2))
def test_rules_about_places_are_read_back(parts) -> None:
    rule = Where(tuple(condition(*part) for part in parts))
    assert parse_rule(str(rule)) == rule


@given(tokens, some.integers(1, 3))
def test_rules_about_words_around_are_read_back(words, least) -> None:
    assert parse_rule(str(Near(words, least))) == Near(words, least)


@given(some.sampled_from(STRETCHES))
def test_rules_about_where_a_place_stands_are_read_back(stretch) -> None:
    assert parse_rule(str(At(*stretch))) == At(*stretch)


@pytest.mark.parametrize("text", ["", "0-1 of line", "1-2 of page", "0=", "0={a colour}", "near=1", "0=1 | 1=2"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(CallError, match="no rule"):
        parse_rule(text)


def test_rules_hold_where_a_slow_reading_says(atlas: Atlas, llama: Model) -> None:
    vocabulary = Vocabulary.of(llama, atlas.text, 0)
    reading = Halves(atlas.text, 0).reading(100, 100)
    at = rows_of(reading, reading.held)
    where = Where((Condition(-2, tuple(range(40))), Condition(0, tuple(range(20, 60)))))
    near = Near(tuple(range(5)), 1)
    held, counted = where.score(at, vocabulary), near.score(at, vocabulary)
    rows = np.flatnonzero(reading.held.ravel())
    assert held.sum() > 3
    for i, row in enumerate(rows.tolist()):
        window, position = divmod(row, reading.per_window)
        ids, here = reading.ids[window].tolist(), position + 1
        wanted = here >= 2 and ids[here - 2] < 40 and 20 <= ids[here] < 60
        assert held[i] == wanted
        around = [ids[at] for at in range(max(0, here - 8), min(len(ids), here + 9)) if at != here]
        assert counted[i] == sum(token < 5 for token in around)


def test_rules_are_said_in_words(atlas: Atlas, llama: Model) -> None:
    vocabulary = Vocabulary.of(llama, atlas.text, 0)
    assert Where((Condition(0, (5, 6)),)).words(vocabulary) == "t5 / t6"
    assert Where((Condition(-1, (5,)), Condition(0, name="a digit"))).words(vocabulary) == "a digit after t5"
    assert Where((Condition(-3, (5,)),)).words(vocabulary) == "3 tokens after t5"
    assert Near((5, 6, 7, 8, 9, 10), 1).words(vocabulary) == "near t5 / t6 / t7 / t8 / t9 / …"
    assert At("line", 1, 1).words() == "the first token of a line"
    assert At("text", 1, 4).words() == "the first 4 tokens of the text"
    assert At("sentence", 3, 3).words() == "token 3 of a sentence"
    assert At("text", 3, 5).words() == "tokens 3 to 5 of the text"
