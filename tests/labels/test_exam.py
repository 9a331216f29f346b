"""Marks are those of a slow count over every place, and nothing is counted twice."""

import numpy as np
import pytest
import torch

from micrographia.atlas.atlas import Atlas
from micrographia.labels.crowd import Crowd
from micrographia.labels.exam import FEWEST, Exam
from micrographia.labels.halves import Halves
from micrographia.labels.rules import Condition, Near, Where
from micrographia.labels.vocabulary import Vocabulary
from micrographia.model.model import Model


@pytest.fixture(scope="module")
def place(atlas: Atlas, llama: Model):
    """One feature that is active on tokens below 30 most of the time, and sometimes elsewhere."""
    vocabulary, reading = Vocabulary.of(llama, atlas.text, 0), Halves(atlas.text, 0).reading(150, 300)
    chance = np.random.default_rng(0)
    here = reading.tokens(0)
    on = ((here < 30) & (chance.random(len(here)) < 0.8)) | (chance.random(len(here)) < 0.05)
    row, strength = np.flatnonzero(on), chance.random(int(on.sum()))
    none = np.full((1, 1), -1)
    start, density = np.array([0, len(row)]), np.array([on.mean()])
    crowd = Crowd(1, 0, start, row, strength, density, none, none, none, torch.zeros(1, 4), np.sign(strength))
    known = dict(zip(row.tolist(), strength.tolist(), strict=True))
    return Exam(crowd, reading, vocabulary, 0), reading, on, known, vocabulary


def neighbours(vocabulary: Vocabulary, tokens: list[int]) -> set[int]:
    """The five nearest of the text's tokens to each of some, without these."""
    found: set[int] = set()
    for token in tokens:
        others = [int(other) for other in vocabulary.common if other != token]
        others.sort(key=lambda other: -float(vocabulary.directions[other] @ vocabulary.directions[token]))
        found |= {*others[:5]}
    return found - {*tokens}


def slow_auc(on: list[int], off: list[int]) -> float:
    return sum((a > b) + (a == b) / 2 for a in on for b in off) / (len(on) * len(off))


@pytest.mark.parametrize("strong", [False, True])
@pytest.mark.parametrize("rule", [Where((Condition(0, tuple(range(25))),)), Near(tuple(range(10)), 2)], ids=str)
def test_marks_are_those_of_a_slow_count(place, rule, strong: bool) -> None:
    exam, reading, on, strengths, vocabulary = place
    least = rule.least if isinstance(rule, Near) else 1
    seen = np.arange(15, 40)
    marks = exam.marks(0, exam.score(rule), least, strong, seen)
    rows = np.flatnonzero(reading.held.ravel()).tolist()
    score = dict(zip(rows, np.minimum(exam.score(rule), 4).tolist(), strict=True))
    active = sorted((row for row in rows if on[row]), key=lambda row: strengths[row])
    assert len(active) >= FEWEST
    tenth = {row: rank * 10 // len(active) for rank, row in enumerate(active)}
    wanted = [row for row in active if not strong or tenth[row] >= 7]
    off = [row for row in rows if not on[row]]
    tp, fp = sum(score[row] >= least for row in wanted), sum(score[row] >= least for row in off)
    assert marks.n == len(wanted)
    assert marks.recall == pytest.approx(tp / len(wanted))
    assert marks.precision == pytest.approx(tp / (tp + fp))
    assert marks.f1 == pytest.approx(2 * tp / (2 * tp + fp + len(wanted) - tp))
    assert marks.base == pytest.approx(len(wanted) / (len(wanted) + len(off)))
    assert marks.auc == pytest.approx(slow_auc([score[row] for row in wanted], [score[row] for row in off]))
    for tokens, found in ((set(seen.tolist()), marks.hard), (neighbours(vocabulary, seen.tolist()), marks.alike)):
        hard = [row for row in off if int(reading.tokens(0)[row]) in tokens]
        if len(hard) >= FEWEST:
            assert found == pytest.approx(slow_auc([score[row] for row in wanted], [score[row] for row in hard]))
        else:
            assert found is None
    for i in range(10):
        mine = [score[row] >= least for row in active if tenth[row] == i]
        assert marks.deciles[i] == pytest.approx(sum(mine) / len(mine))
    assert marks.low <= marks.auc <= marks.high


def test_a_rule_that_is_no_rule_of_it_is_at_chance(place) -> None:
    exam, reading, *_ = place
    hits = np.random.default_rng(1).random((40, int(reading.held.sum()))) < 0.3
    assert exam.shuffled(0, False, hits, np.arange(40)) == pytest.approx(0.5, abs=0.03)
    assert exam.top_token(0, False, np.array([3, 3, 70, 70, 3, 70])) > 0.5
    assert exam.top_token(0, False, np.full(4, -1)) == 0.5
