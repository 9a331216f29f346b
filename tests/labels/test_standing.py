"""Where a place stands is what a slow reading says, and random places stand as surprisingly as the p-value says."""

import numpy as np
import pytest
import torch

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.text import Text
from micrographia.labels.crowd import Crowd
from micrographia.labels.edits import _moved
from micrographia.labels.exam import Exam
from micrographia.labels.halves import Halves
from micrographia.labels.rules import At, rows_of
from micrographia.labels.standing import LAST, SINCE, STRETCHES, StandingNull, standing, stretches
from micrographia.labels.vocabulary import STARTS, Vocabulary
from micrographia.labels.walk import Walk
from micrographia.model.model import Model

BREAKS = {"line": (5, 6), "sentence": (5, 6, 7)}


@pytest.fixture(scope="module")
def vocabulary(llama: Model, atlas: Atlas) -> Vocabulary:
    """Of a model whose vocabulary has neither lines nor sentences: some of its tokens shall end them."""
    found = Vocabulary.of(llama, atlas.text, 0)
    for name, tokens in BREAKS.items():
        found.behind[name][list(tokens)] = True
    return found


@pytest.fixture(scope="module")
def null(atlas: Atlas, vocabulary: Vocabulary) -> StandingNull:
    return StandingNull(atlas.text, every(atlas.text), vocabulary, 0)


def every(text: Text) -> np.ndarray:
    return np.arange(text.ids.size).reshape(text.ids.shape)[:, 1:].ravel()


def slow(ids: list[int], at: int, since: str, vocabulary: Vocabulary) -> int:
    """Counted by hand: 1 is the first token behind the start."""
    if since == "text":
        return at + 1 - vocabulary.front
    number = 1
    while at - number >= 0 and not vocabulary.behind[since][ids[at - number]]:
        number += 1
    return number


def test_places_stand_where_a_slow_reading_says(atlas: Atlas, null: StandingNull, vocabulary: Vocabulary) -> None:
    text = atlas.text
    places = np.random.default_rng(0).choice(every(text), (20, 10))
    places[:, -1] = -1
    where = null.where(places)
    for row, since in enumerate(SINCE):
        for one in np.ndindex(20, 9):
            window, at = divmod(int(places[one]), text.length)
            wanted = slow(text.ids[window].tolist(), at, since, vocabulary)
            assert where[row][one] == min(wanted, LAST + 1)
        assert (where[row][:, -1] == -1).all()


def test_rules_about_where_a_place_stands_hold_there(atlas: Atlas, vocabulary: Vocabulary) -> None:
    reading = Halves(atlas.text, 0).reading(100, 100)
    at, rows = rows_of(reading, reading.held), np.flatnonzero(reading.held.ravel())
    for rule in (At("text", 2, 2), At("text", 3, 7), At("line", 1, 4), At("sentence", 2, 3)):
        held = rule.score(at, vocabulary)
        assert held.any()
        for i, row in enumerate(rows.tolist()):
            window, position = divmod(row, reading.per_window)
            number = slow(reading.ids[window].tolist(), position + 1, rule.since, vocabulary)
            assert held[i] == (rule.first <= number <= rule.last)


def test_shares_of_stretches_and_the_most_surprising_are_those_of_a_slow_count(null: StandingNull) -> None:
    chance = np.random.default_rng(1)
    where = chance.integers(1, LAST + 2, (len(SINCE), 6, 12))
    where[0, :3] = chance.integers(3, 6, (3, 12))
    where[:, 5, 4:] = -1
    shares, found = stretches(where), standing(where, null.usual)
    for one in range(6):
        n, best = int((where[0, one] >= 0).sum()), -1.0
        for i, (since, first, last) in enumerate(STRETCHES):
            number = where[SINCE.index(since), one]
            share, usual = float(((number >= first) & (number <= last)).sum()) / n, float(null.usual[i])
            assert shares[one, i] == pytest.approx(share)
            best = max(best, n * kl(share, usual) if share > usual else 0.0)
        assert found.surprise[one] == pytest.approx(best)
        assert found.n[one] == n
        assert shares[one, found.which[one]] == pytest.approx(found.share[one])


def kl(share: float, usual: float) -> float:
    share = min(max(share, 1e-12), 1 - 1e-12)
    return share * np.log(share / usual) + (1 - share) * np.log((1 - share) / (1 - usual))


def test_random_places_stand_as_surprisingly_as_p_says(atlas: Atlas, null: StandingNull) -> None:
    p = null.p(null.where(np.random.default_rng(3).choice(every(atlas.text), (1500, 20))))
    for share in (0.01, 0.05, 0.2):
        assert (p <= share).mean() <= share + 3 * np.sqrt(share / 1500)
    assert (p <= 0.2).mean() > 0.1
    few = null.where(np.full((1, 3), 1))
    assert null.p(few)[0] == 1.0


def test_a_place_is_moved_out_of_its_stretch_with_the_tokens_before_it(
    atlas: Atlas, llama: Model, vocabulary: Vocabulary
) -> None:
    reading, chance = Halves(atlas.text, 0).reading(100, 100), np.random.default_rng(0)
    none, nobody = np.full((1, 1), -1), np.zeros(0, dtype=np.int64)
    crowd = Crowd(
        1, 0, np.zeros(2, np.int64), nobody, nobody * 1.0, np.ones(1), none, none, none, torch.zeros(1, 4), nobody * 1.0
    )
    walk, exam = Walk(llama, reading, 2), Exam(crowd, reading, vocabulary, 0)
    tried = 0
    for rule in (At("text", 2, 4), At("text", 9, 10), At("line", 1, 2), At("sentence", 3, 3)):
        held = rule.score(exam.tokens, vocabulary) > 0
        for row in np.flatnonzero(reading.held.ravel())[held].tolist():
            window, position = divmod(row, reading.per_window)
            pair, ids, at = (
                _moved(row, rule, walk, vocabulary, exam, chance),
                reading.ids[window].tolist(),
                position + 1,
            )
            if not pair:
                assert rule.first == 1 or at + 1 + rule.last >= len(ids)
                continue
            moved, beside = ([*ids[: each.first], *each.ids] for each in pair)
            assert len(moved) <= len(ids)
            assert not rule.first <= slow(moved, len(moved) - 1, rule.since, vocabulary) <= rule.last
            same = min(slow(moved, len(moved) - 1, rule.since, vocabulary), slow(ids, at, rule.since, vocabulary))
            assert moved[len(moved) - same :] == ids[at + 1 - same : at + 1]
            assert len(beside) == at + 1
            assert sum(a != b for a, b in zip(beside, ids, strict=False)) == 1
            assert rule.first <= slow(beside, at, rule.since, vocabulary) <= rule.last
            tried += 1
    assert tried > 30


@pytest.mark.parametrize(
    ("piece", "line", "sentence"),
    [("\n", True, True), ("}\n", True, True), ("\n\n  ", True, True), (".", False, True), ('?"', False, True),
     ("\nA", False, False), (" a", False, False), (",", False, False), ("。", False, True)],
)  # fmt: skip
def test_lines_and_sentences_start_behind_these(piece: str, line: bool, sentence: bool) -> None:
    assert (STARTS["line"](piece), STARTS["sentence"](piece)) == (line, sentence)
