"""Surprises are those of a slow count, and random places are as surprising as the p-value says."""

import math
from collections import Counter

import numpy as np
import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.labels.halves import Halves
from micrographia.labels.shares import OFFSETS, ShareNull, around, surprises
from micrographia.labels.vocabulary import CLASSES, Vocabulary
from micrographia.model.model import Model


@pytest.fixture(scope="module")
def vocabulary(llama: Model, atlas: Atlas) -> Vocabulary:
    return Vocabulary.of(llama, atlas.text, 0)


def slow(tokens: list[int], vocabulary: Vocabulary) -> tuple[int, float, float]:
    """The most surprising token, its share and its surprise."""
    best = (-1, 0.0, -1.0)
    for token, count in Counter(tokens).items():
        share, usual = count / len(tokens), float(vocabulary.frequency[token])
        kl = share * math.log(share / usual) if share > usual else 0.0
        if share > usual and share < 1:
            kl += (1 - share) * math.log((1 - share) / (1 - usual))
        if len(tokens) * kl > best[2]:
            best = token, share, len(tokens) * kl
    return best


def test_the_most_surprising_token_is_that_of_a_slow_count(atlas: Atlas, vocabulary: Vocabulary) -> None:
    chance = np.random.default_rng(0)
    tokens = chance.integers(0, 12, (30, 20))
    tokens[tokens > 9] = -1
    found, _ = surprises(tokens, vocabulary)
    for row in range(30):
        some = [int(token) for token in tokens[row] if token >= 0]
        _, share, worth = slow(some, vocabulary)
        assert found.surprise[row] == pytest.approx(worth)
        assert found.share[row] == pytest.approx(share)
        assert found.n[row] == len(some)
        entropy = -sum(n / len(some) * math.log2(n / len(some)) for n in Counter(some).values())
        assert found.entropy[row] == pytest.approx(entropy)


def test_tokens_around_a_place_end_with_its_window(atlas: Atlas) -> None:
    text = atlas.text
    places = np.array([[3, text.length - 1, -1]])
    for offset in OFFSETS:
        found = around(text, places, offset)[0].tolist()
        wanted = [
            int(text.ids[0, at + offset]) if 0 <= at + offset < text.length else -1 for at in (3, text.length - 1)
        ]
        assert found == [*wanted, -1]


def test_random_places_are_as_surprising_as_p_says(atlas: Atlas, vocabulary: Vocabulary) -> None:
    text = atlas.text
    places = np.arange(text.ids.size)
    null = ShareNull(text, places, vocabulary, 0)
    drawn = np.random.default_rng(9).choice(places, (600, 24))
    for offset in (-1, 0, 3):
        p, _ = null.p(around(text, drawn, offset), offset, vocabulary)
        for level in (0.05, 0.2):
            assert np.mean(p <= level) == pytest.approx(level, abs=0.04)
            assert np.mean(p <= level) <= level + 0.03
    same = np.repeat(drawn[:, :1], 24, axis=1)
    p, _ = null.p(around(text, same, 0), 0, vocabulary)
    assert p.max() < 0.01
    few, _ = null.p(np.full((1, 3), 5), 0, vocabulary)
    assert few[0] == 1.0


def test_classes_know_their_tokens() -> None:
    members = {name: [text for text in TEXTS if holds(text)] for name, holds in CLASSES.items()}
    assert members["a digit"] == ["7"]
    assert members["a capitalised word"] == [" Paris"]
    assert members["a word in capitals"] == [" NASA"]
    assert members["a mark of punctuation"][0] == " ("
    assert members["a line break"] == ["\n\n"]
    assert members["a word in -ing"] == [" going"]
    assert members["a Cyrillic token"] == [" дом"]
    assert members["the inside of a word"] == ["tion"]
    assert members["a part of a character"] == ["\ufffd"]


TEXTS = ("7", " Paris", " NASA", " (", "\n\n", " going", " дом", "tion", "\ufffd")


def test_documents_are_split_by_number_and_seed(atlas: Atlas) -> None:
    documents = np.arange(4000)
    first, second = Halves(atlas.text, 0).held(documents), Halves(atlas.text, 1).held(documents)
    assert first.mean() == pytest.approx(0.5, abs=0.03)
    assert np.mean(first == second) == pytest.approx(0.5, abs=0.03)
    assert Halves(atlas.text, 0).sha256() != Halves(atlas.text, 1).sha256()
