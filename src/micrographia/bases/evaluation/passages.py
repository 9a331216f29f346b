"""Passages of text to judge by: pieces of documents, each known by its document, until a budget of positions is met.

Position 0 carries a massive activation and is left out of every figure: it counts for nothing here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from micrographia.corpus.corpus import Corpus
from micrographia.corpus.manifest import Split
from micrographia.errors import WorkError
from micrographia.ids import TokenId
from micrographia.model.batch import Batch

__all__ = ["Passage", "PassageBatch", "Passages", "draw"]


@dataclass(frozen=True, slots=True)
class Passage:
    """Some tokens of one document, with what stands in front of them; documents are numbered in order of appearance."""

    ids: tuple[TokenId, ...]
    document: int


@dataclass(frozen=True, slots=True, eq=False)
class PassageBatch:
    """Passages side by side."""

    batch: Batch
    documents: Int[Tensor, " batch"]

    @property
    def counted(self) -> Bool[Tensor, "batch pos"]:
        """Real tokens behind position 0."""
        positions = self.batch.positions
        return positions > 0 if self.batch.real is None else (positions > 0) & self.batch.real

    @property
    def predicting(self) -> Bool[Tensor, "batch pos"]:
        """Counted positions behind which the passage goes on."""
        return self.counted & (self.batch.positions < self.batch.lengths[:, None] - 1)

    def targets(self) -> Int[Tensor, "batch pos"]:
        """The token that follows each position; behind the end, any."""
        return self.batch.ids.roll(-1, dims=1)

    def rows(self, chosen: Bool[Tensor, " batch"]) -> "PassageBatch":
        """Some of the passages."""
        batch = self.batch
        real = None if batch.real is None else batch.real[chosen]
        some = Batch(batch.ids[chosen], real, batch.positions[chosen], batch.lengths[chosen])
        return PassageBatch(some, self.documents[chosen])

    def document_of(self, where: Bool[Tensor, "batch pos"]) -> Int[Tensor, " row"]:
        """The document of each chosen position."""
        return self.documents[:, None].expand_as(where)[where]


@final
@dataclass(frozen=True, slots=True)
class Passages:
    """Passages in their order, and how many documents they come from."""

    passages: tuple[Passage, ...]
    n_documents: int

    @property
    def n_positions(self) -> int:
        """Positions that count."""
        return sum(len(passage.ids) - 1 for passage in self.passages)

    def batches(self, tokens: int, device: torch.device) -> Iterator[PassageBatch]:
        """All passages, the longest first so that little is padded, about so many tokens at a time."""
        ordered = sorted(self.passages, key=lambda passage: -len(passage.ids))
        start = 0
        while start < len(ordered):
            some = ordered[start : start + max(1, tokens // len(ordered[start].ids))]
            batch = Batch.of([passage.ids for passage in some], pad=TokenId(0), device=device)
            yield PassageBatch(batch, torch.tensor([passage.document for passage in some], device=device))
            start += len(some)


def draw(corpus: Corpus, split: Split, *, length: int, positions: int, seed: int, shortest: int = 3) -> Passages:
    """Passages of at most `length` tokens, mixed by the seed, until they have so many positions that count."""
    windows = corpus.windows(split, length, seed=seed, packed=False)
    numbers: dict[int, int] = {}
    found: list[Passage] = []
    held = 0
    for window in windows:
        if held >= positions:
            break
        if len(window.ids) < shortest:
            continue
        document = corpus.document_at(split, window.start)
        ids = tuple(TokenId(int(token)) for token in window.ids)
        found.append(Passage(ids, numbers.setdefault(document, len(numbers))))
        held += len(ids) - 1
    if held < positions:
        raise WorkError(
            f"There is too little text: the {split} split of {corpus.folder} gives {held} positions in passages of "
            f"{shortest} to {length} tokens, and {positions} are asked for. Ask for fewer, or build a larger corpus."
        )
    if len(numbers) < 2:
        raise WorkError(
            f"There is too little text: {positions} positions of the {split} split of {corpus.folder} come from one "
            "document, and intervals need several. Ask for more positions, or build a corpus of more documents."
        )
    return Passages(tuple(found), len(numbers))
