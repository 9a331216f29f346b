"""Passages keep to their documents and to the budget, and position 0 counts for nothing."""

from pathlib import Path

import pytest
import torch

from micrographia.bases.evaluation.passages import draw
from micrographia.corpus.corpus import Corpus
from micrographia.errors import WorkError
from tests.bases.evaluation.bases import only_batch, some_passages
from tests.bases.evaluation.conftest import build_corpus


def test_passages_are_pieces_of_their_documents(corpus: Corpus) -> None:
    found = draw(corpus, "heldout", length=20, positions=300, seed=3)
    assert 300 <= found.n_positions < 320
    assert {passage.document for passage in found.passages} == set(range(found.n_documents))
    documents = [document.ids.tolist() for document in corpus.documents("heldout")]
    homes: dict[int, set[int]] = {}
    for passage in found.passages:
        body = list(passage.ids[1:])
        home = {
            number
            for number, ids in enumerate(documents)
            if any(ids[start : start + len(body)] == body for start in range(len(ids)))
        }
        homes[passage.document] = homes.get(passage.document, home) & home
    assert all(len(home) == 1 for home in homes.values())
    assert len(set.union(*homes.values())) == found.n_documents


def test_the_seed_decides_which(corpus: Corpus) -> None:
    one, two, other = (draw(corpus, "heldout", length=20, positions=100, seed=seed) for seed in (0, 0, 1))
    assert one == two != other


def test_batches_hold_every_passage_once() -> None:
    passages = some_passages(5, 9, 3, 9, 7)
    batches = list(passages.batches(16, torch.device("cpu")))
    rows = [
        (tuple(ids[:length].tolist()), int(document))
        for each in batches
        for ids, length, document in zip(each.batch.ids, each.batch.lengths, each.documents, strict=True)
    ]
    assert sorted(rows) == sorted((passage.ids, passage.document) for passage in passages.passages)
    assert all(each.batch.ids.numel() <= 18 for each in batches)


def test_what_counts_and_what_predicts() -> None:
    batch = only_batch(some_passages(4, 2))
    assert batch.counted.tolist() == [[False, True, True, True], [False, True, False, False]]
    assert batch.predicting.tolist() == [[False, True, True, False], [False, False, False, False]]
    assert batch.document_of(batch.counted).tolist() == [0, 0, 0, 1]
    assert torch.equal(batch.targets()[0, :3], batch.batch.ids[0, 1:])
    some = batch.rows(torch.tensor([False, True]))
    assert some.counted.tolist() == [[False, True, False, False]]
    assert some.documents.tolist() == [1]


def test_too_little_text_is_refused(corpus: Corpus, tmp_path: Path, tiny) -> None:
    with pytest.raises(WorkError, match=r"too little text: the heldout split of .* gives \d+ positions in passages"):
        draw(corpus, "heldout", length=20, positions=1_000_000, seed=0)
    single = build_corpus(tmp_path, tiny("gpt2"), documents=2, words=200)
    assert single.manifest.tally("heldout").documents == 1
    with pytest.raises(WorkError, match="come from one document"):
        draw(single, "heldout", length=20, positions=50, seed=0)
