"""The text is the corpus's, each token with its document, and contexts are equal where tokens are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrographia.atlas.text import CONTEXT, Text, contexts
from micrographia.corpus.corpus import Corpus


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_every_token_knows_its_document(corpus: Corpus, split: str) -> None:
    text = Text.of(corpus, split, length=40, n_windows=30, seed=2)
    row = corpus.windows(split, 40, seed=2)
    documents = [document.ids.tolist() for document in corpus.documents(split)]
    crossing = 0
    for number in range(30):
        assert text.ids[number].tolist() == row[number].ids.tolist()
        its = [text.document(number * 40 + position) for position in range(40)]
        crossing += len(set(its)) > 1
        for document in set(its):
            piece = [token for token, of in zip(text.ids[number].tolist(), its, strict=True) if of == document]
            whole = documents[document]
            body = piece if piece == whole[: len(piece)] else piece[1:]
            assert any(whole[i : i + len(body)] == body for i in range(len(whole))), (number, document)
    assert crossing > 3, "some windows hold the end of one document and the beginning of the next"
    assert {corpus.manifest.sources[text.source(place)].name for place in range(0, 1200, 7)} == {"stories"}


def test_tokens_around_a_place_stay_in_its_window(corpus: Corpus) -> None:
    text = Text.of(corpus, "train", length=10, n_windows=3, seed=0)
    whole = text.ids[1].tolist()
    assert text.tokens(10, 3, 2) == (tuple(whole[:3]), 0)
    assert text.tokens(15, 3, 2) == (tuple(whole[2:8]), 3)
    assert text.tokens(19, 3, 2) == (tuple(whole[6:]), 3)
    assert text.n_positions == 27


@given(ids=st.lists(st.integers(0, 3), min_size=30, max_size=30), seed=st.integers(0, 3))
def test_contexts_are_equal_where_the_last_tokens_are(ids: list[int], seed: int) -> None:
    found = contexts(np.array(ids, np.uint16).reshape(2, 15), seed).tolist()
    tokens = [
        tuple(ids[15 * row + max(0, p - CONTEXT + 1) : 15 * row + p + 1]) for row in range(2) for p in range(1, 15)
    ]
    for i, one in enumerate(tokens):
        for j, other in enumerate(tokens):
            assert (found[i] == found[j]) == (one == other)


def test_another_seed_is_another_sample() -> None:
    ids = np.arange(400, dtype=np.uint16).reshape(4, 100)
    one, two = contexts(ids, 0), contexts(ids, 1)
    assert abs(np.corrcoef(np.argsort(one).argsort(), np.argsort(two).argsort())[0, 1]) < 0.2


def test_places_of_a_block_leave_position_0_out(corpus: Corpus) -> None:
    text = Text.of(corpus, "train", length=5, n_windows=4, seed=0)
    assert text.rows(1, 2, 0).place.tolist() == [6, 7, 8, 9, 11, 12, 13, 14]
