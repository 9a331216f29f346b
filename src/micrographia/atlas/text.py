"""The text of an atlas: the windows that were read, once, as token ids, and which document each token is from.

A place is a number: the window times the window's length, plus the position in it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Integer, UInt16, UInt32, UInt64

from micrographia.atlas.files import mapped, write_arrays
from micrographia.atlas.sketch import Rows
from micrographia.corpus.corpus import Corpus
from micrographia.corpus.manifest import Split
from micrographia.corpus.windows import Window
from micrographia.errors import CallError

__all__ = ["CONTEXT", "FILE", "Text", "contexts"]

CONTEXT = 8
"""Two places have the same context if these many tokens up to them are the same."""
FILE = "text.safetensors"

_Ids: TypeAlias = UInt16[np.ndarray, "window pos"] | UInt32[np.ndarray, "window pos"]
_ODD = np.random.default_rng(1665).integers(0, 2**63, size=CONTEXT, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """Token ids, and where documents begin."""

    ids: _Ids
    breaks: UInt32[np.ndarray, " break"]
    """Places at which another document begins, in order."""
    documents: UInt32[np.ndarray, " break"]
    """Which document of the split begins there."""
    sources: UInt16[np.ndarray, " break"]
    """The number of its source in the corpus."""

    @property
    def length(self) -> int:
        """Tokens in a window."""
        return self.ids.shape[1]

    @property
    def n_positions(self) -> int:
        """Positions that count: all but the first of each window."""
        return self.ids.shape[0] * (self.length - 1)

    @staticmethod
    def of(corpus: Corpus, split: Split, *, length: int, n_windows: int, seed: int) -> "Text":
        """The first so many windows of a split, mixed by the seed."""
        row = corpus.windows(split, length, seed=seed)
        dtype = np.uint16 if corpus.manifest.plan.tokenizer.d_vocab <= 1 << 16 else np.uint32
        ids = np.zeros((n_windows, length), dtype=dtype)
        begun: list[tuple[int, int]] = []
        front, total = len(corpus.manifest.plan.tokenizer.front), corpus.manifest.tally(split).tokens
        for number in range(n_windows):
            window = row[number]
            ids[number] = window.ids
            begun += [
                (number * length + at, document) for at, document in _documents(corpus, split, window, front, total)
            ]
        named = {document: corpus.document(split, document).source for _, document in begun}
        numbers = {source.name: i for i, source in enumerate(corpus.manifest.sources)}
        return Text(
            ids,
            np.array([at for at, _ in begun], dtype=np.uint32),
            np.array([document for _, document in begun], dtype=np.uint32),
            np.array([numbers[named[document]] for _, document in begun], dtype=np.uint16),
        )

    @staticmethod
    def open(folder: Path) -> "Text":
        """The text of an atlas, mapped from the disk."""
        arrays = mapped(folder / FILE)
        return Text(arrays["ids"], arrays["breaks"], arrays["documents"], arrays["sources"])

    def write(self, folder: Path) -> None:
        arrays = {"ids": self.ids, "breaks": self.breaks, "documents": self.documents, "sources": self.sources}
        write_arrays(folder / FILE, arrays)

    def rows(self, first: int, n_windows: int, seed: int) -> Rows:
        """The positions that count of some windows."""
        places = np.arange(first * self.length, (first + n_windows) * self.length, dtype=np.int64)
        places = places.reshape(n_windows, self.length)[:, 1:].ravel()
        return Rows(places.astype(np.uint32), contexts(self.ids[first : first + n_windows], seed))

    def tokens(self, place: int, before: int, after: int) -> tuple[tuple[int, ...], int]:
        """The tokens around a place, as far as its window goes, and which of them it is."""
        window, position = divmod(place, self.length)
        start = max(position - before, 0)
        return tuple(self.ids[window, start : position + after + 1].tolist()), position - start

    def document(self, place: int) -> int:
        """The document that a place is in, by its number in the split."""
        return int(self.documents[self._break(place)])

    def source(self, place: int) -> int:
        """The source of that document, by its number in the corpus."""
        return int(self.sources[self._break(place)])

    def _break(self, place: int) -> int:
        return int(np.searchsorted(self.breaks, np.uint32(place), side="right")) - 1


def contexts(ids: Integer[np.ndarray, "window pos"], seed: int) -> UInt64[np.ndarray, " row"]:
    """A hash of the tokens up to each position that counts, which also orders places at random."""
    wide = ids.astype(np.uint64) + np.uint64(1)
    found = np.full(ids.shape, np.uint64(seed & 0xFFFFFFFF) * np.uint64(0x9E3779B97F4A7C15 >> 32), dtype=np.uint64)
    for back in range(min(CONTEXT, ids.shape[1])):
        found[:, back:] += wide[:, : ids.shape[1] - back] * _ODD[back]
    found = found[:, 1:].ravel()
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found = (found ^ found >> np.uint64(shift)) * np.uint64(factor)
    return found ^ found >> np.uint64(31)


def _documents(corpus: Corpus, split: Split, window: Window, front: int, total: int) -> list[tuple[int, int]]:
    """Where documents begin in a window, its first one at 0: positions and numbers."""
    start = window.start
    begins = start == 0 or corpus.document_at(split, start - 1) != corpus.document_at(split, start)
    shift = 0 if begins else front
    found: list[tuple[int, int]] = []
    at, last = 0, len(window.ids) - shift
    while at < last and start + at < total:
        document = corpus.document_at(split, start + at)
        found.append((at + shift if found else 0, document))
        low, high = at, last
        while low + 1 < high:
            middle = (low + high) // 2
            same = start + middle < total and corpus.document_at(split, start + middle) == document
            low, high = (middle, high) if same else (low, middle)
        at = high
    if not found:
        raise CallError(f"The {split} split has no token {start}.")
    return found
