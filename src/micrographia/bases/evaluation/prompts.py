"""Replacement accuracy: on next tokens that are neither obvious, nor frequent, nor copied, and that the model gets
right, does it still get them right when a stand-in writes for all its MLPs?

A token of a short passage is asked for if it stands behind position 10, the model as it is finds it the likeliest with
p < .82, it makes up less than 1 in 10,000 of the training text, and it does not stand before in the passage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from micrographia.bases.evaluation.passages import PassageBatch, Passages
from micrographia.bases.evaluation.passes import Watched, everywhere, watch
from micrographia.bases.evaluation.splice import logits_of
from micrographia.bases.evaluation.standin import StandIn
from micrographia.corpus.corpus import Corpus
from micrographia.corpus.windows import permuted
from micrographia.model.forward import Stream
from micrographia.model.model import Model
from micrographia.store import Progress

__all__ = ["PROMPT_LENGTH", "Replacement", "Unigrams", "count_unigrams", "replace_on_prompts"]

PROMPT_LENGTH = 17
"""A context of 16, and the token behind it."""
_FIRST_TARGET = 11
_SURE = 0.82
_RARE = 1e-4
_MOST_COUNTED = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class Unigrams:
    """How often each token stands in training text."""

    counts: Float[Tensor, " d_vocab"]

    @property
    def n_tokens(self) -> int:
        return int(self.counts.sum())

    def rare(self) -> Bool[Tensor, " d_vocab"]:
        """Tokens that are less than 1 in 10,000."""
        return self.counts < _RARE * self.counts.sum()


@dataclass(frozen=True, slots=True, eq=False)
class Replacement:
    """Sums over documents: how many tokens were asked for, and how many each stand-in got right."""

    asked: Float[Tensor, " document"]
    right: Float[Tensor, "document stand_in"]


def count_unigrams(corpus: Corpus, d_vocab: int, *, seed: int) -> Unigrams:
    """Count the tokens of training documents, of some million at most."""
    counts = np.zeros(d_vocab, dtype=np.float64)
    n = corpus.manifest.tally("train").documents
    for number in range(n):
        if counts.sum() >= _MOST_COUNTED:
            break
        counts += np.bincount(corpus.document("train", permuted(number, n, seed)).ids, minlength=d_vocab)
    return Unigrams(torch.from_numpy(counts))


def replace_on_prompts(
    model: Model,
    passages: Passages,
    stand_ins: Sequence[StandIn],
    unigrams: Unigrams,
    *,
    tokens: int,
    progress: Progress,
) -> Replacement:
    """Ask for every token that may be asked for, first the model as it is, then with each stand-in."""
    asked = torch.zeros(passages.n_documents, dtype=torch.float64)
    right = torch.zeros(passages.n_documents, len(stand_ins), dtype=torch.float64)
    rare, done = unigrams.rare().to(model.device), 0
    for batch in passages.batches(tokens, model.device):
        clean = watch(model, batch)
        where = _asked(model, batch, clean.last, rare)
        rows = where.any(-1)
        if rows.any():
            some, where = batch.rows(rows), where[rows]
            documents = some.document_of(where).cpu()
            asked += documents.bincount(minlength=len(asked))
            held = Watched({}, {layer: first[rows] for layer, first in clean.first.items()})
            for column, stand_in in enumerate(stand_ins):
                best = logits_of(model, everywhere(model, some, stand_in, held)[where]).argmax(-1)
                hits = (best == some.targets()[where]).cpu().double()
                right[:, column].index_add_(0, documents, hits)
        done += batch.batch.n_rows
        progress("asking", done, len(passages.passages))
    return Replacement(asked, right)


def _asked(
    model: Model, passages: PassageBatch, last: Stream, rare: Bool[Tensor, " d_vocab"]
) -> Bool[Tensor, "batch pos"]:
    """The positions whose next token is asked for."""
    targets = passages.targets()
    where = passages.predicting & (passages.batch.positions + 1 >= _FIRST_TARGET) & rare[targets] & ~_copied(passages)
    sure, best = logits_of(model, last[where]).softmax(-1).max(-1)
    where[where.clone()] = (best == targets[where]) & (sure < _SURE)
    return where


def _copied(passages: PassageBatch) -> Bool[Tensor, "batch pos"]:
    """Whether the token behind a position stands at the position or before it."""
    same = passages.batch.ids[:, None, :] == passages.targets()[:, :, None]
    return same.tril().any(-1)
