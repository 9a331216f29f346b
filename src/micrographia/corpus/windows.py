"""A split as windows of tokens: an endless row in which every place can be computed, so that a reader may stop.

Packed, the documents of a split follow each other and are cut every `length` tokens; not packed, each window belongs to
one document and may be shorter. Every window begins with what stands in front of a text. One pass over the split gives
each window once, in an order that the seed and the number of the pass decide.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from micrographia.corpus.encoding import Ids
from micrographia.corpus.manifest import Split
from micrographia.corpus.strand import Strand
from micrographia.errors import CallError, WorkError

__all__ = ["Cursor", "Window", "WindowReader", "Windows", "WindowsOf", "permuted"]

_ROUNDS = 4
_WORD = (1 << 64) - 1


class WindowsOf(BaseModel):
    """Which row of windows: with the corpus it decides every one of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: str
    """The corpus's SHA-256."""
    split: Split
    length: int
    seed: int | None
    packed: bool


class Cursor(BaseModel):
    """How far a reader has come, to be written down and gone on from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    windows: WindowsOf
    index: int = Field(ge=0)
    """The window that comes next."""


@dataclass(frozen=True, slots=True)
class Window:
    """Some tokens to run the model on."""

    ids: npt.NDArray[np.int64]
    start: int
    """Where in its split the first token lies that was not put in front of the window."""


@final
class Windows:
    """An endless row of windows, of which `len` is one pass. `windows[i]` is the same whatever was read before."""

    __slots__ = ("_body", "_ends", "_front", "_n", "_strand", "of")

    def __init__(self, strand: Strand, front: tuple[int, ...], of: WindowsOf) -> None:
        self.of = of
        self._strand = strand
        self._front = np.array(front, dtype=np.int64)
        self._body = of.length - len(front)
        if self._body < 1:
            raise CallError(f"A window of {of.length} has no room for text behind the {len(front)} tokens in front.")
        if of.packed:
            self._ends = np.zeros(0, dtype=np.int64)
            self._n = strand.n_tokens // self._body
        else:
            own = strand.lengths() - len(front)
            self._ends = np.cumsum(-(-own // self._body))
            self._n = int(self._ends[-1]) if len(self._ends) else 0
        if not self._n:
            raise WorkError(
                f"There is too little text: the {of.split} split has {strand.n_tokens} tokens in {strand.n_documents} "
                f"documents, not enough for one window of {of.length}."
            )

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> Window:
        if index < 0:
            raise CallError(f"Windows are counted from 0; there is no window {index}.")
        number, place = divmod(index, self._n)
        if self.of.seed is not None:
            place = permuted(place, self._n, _key(self.of.seed, number))
        return self._packed(place, number) if self.of.packed else self._of_a_document(place)

    def __iter__(self) -> Iterator[Window]:
        """One pass."""
        return (self[index] for index in range(self._n))

    def reader(self, at: Cursor | None = None) -> "WindowReader":
        """An endless reader that begins at the front, or where a cursor says."""
        if at is not None and at.windows != self.of:
            asked, kept = self.of.model_dump(), at.windows.model_dump()
            differs = ", ".join(f"{key} {kept[key]!r}, here {asked[key]!r}" for key in asked if asked[key] != kept[key])
            raise CallError(
                f"The cursor belongs to other windows: {differs}. Open the same corpus with the same choices."
            )
        return WindowReader(self, 0 if at is None else at.index)

    # ------------------------------------------------------------ parts

    def _packed(self, place: int, number: int) -> Window:
        """Each later pass cuts at other places."""
        total = self._strand.n_tokens
        shift = _key(self.of.seed, ~number) % total if number and self.of.seed is not None else 0
        start = (shift + place * self._body) % total
        if self._strand.begins(start):
            return Window(self._strand.around(start, self.of.length).astype(np.int64), start)
        return Window(self._fronted(self._strand.around(start, self._body)), start)

    def _of_a_document(self, place: int) -> Window:
        document = int(np.searchsorted(self._ends, place, side="right"))
        inside = place - (int(self._ends[document - 1]) if document else 0)
        begin, end = self._strand.bounds(document)
        start = begin + len(self._front) + inside * self._body
        return Window(self._fronted(self._strand.read(start, min(start + self._body, end))), start)

    def _fronted(self, body: Ids) -> npt.NDArray[np.int64]:
        return np.concatenate([self._front, body.astype(np.int64)])


@final
class WindowReader:
    """Windows one after the other, for ever; `cursor` is where it stands."""

    __slots__ = ("_index", "_windows")

    def __init__(self, windows: Windows, index: int) -> None:
        self._windows = windows
        self._index = index

    @property
    def cursor(self) -> Cursor:
        return Cursor(windows=self._windows.of, index=self._index)

    def __iter__(self) -> "WindowReader":
        return self

    def __next__(self) -> Window:
        window = self._windows[self._index]
        self._index += 1
        return window


def permuted(index: int, n: int, key: int) -> int:
    """Where a random order of `n` things has its thing number `index`, without writing the order down.

    A Feistel network orders the numbers below the next power of four; one that falls outside `n` goes round again.
    """
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for number in range(_ROUNDS):
            left, right = right, left ^ (_stirred(right, key, number) & mask)
        index = left << half | right
        if index < n:
            return index


def _stirred(value: int, key: int, number: int) -> int:
    value = (value * 0x9E3779B97F4A7C15 + (key >> 16 * number) + number) & _WORD
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _WORD
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _WORD
    return value ^ value >> 31


def _key(seed: int | None, number: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=16).digest(), "little")
