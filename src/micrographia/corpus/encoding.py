"""Documents to token ids, several at once and in order, whoever finishes first."""

import hashlib
import re
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt

from micrographia.corpus.documents import Document, fingerprint
from micrographia.corpus.duplicates import bands
from micrographia.ids import TokenId
from micrographia.model.tokens import Bos, Tokenizer

__all__ = ["MOST_TOGETHER", "Encoded", "Encoder", "IdType", "Ids", "tokenizer_sha256"]

Ids: TypeAlias = UInt[np.ndarray, " pos"]
"""Token ids as they are stored."""
IdType: TypeAlias = Literal["<u2", "<u4"]

_TOGETHER = 200_000
"""Characters that are encoded in one go."""
MOST_TOGETHER = 256
"""Documents that are encoded in one go."""
_HALVES = re.compile("[\ud800-\udfff]")
_PROBE = "The year 1665, don't   you know:\n\tdef f(x): return x**2  # naïve Ünïcödé → 日本語 🔬\r\n"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document as it may go into a shard."""

    document: Document
    fingerprint: int
    ids: Ids
    """Bare: nothing in front."""
    bands: npt.NDArray[np.uint64]
    replaced: int
    """How many characters the vocabulary could not write."""


@final
class Encoder:
    """A tokenizer at work on documents: every text is read as text, and none is refused for a character."""

    __slots__ = ("_instead", "_tokenizer", "dtype", "front")

    def __init__(self, tokenizer: Tokenizer, bos: Bos) -> None:
        self.front: tuple[TokenId, ...] = tokenizer.front(bos)
        """What stands in front of each document."""
        self.dtype: IdType = "<u2" if tokenizer.d_vocab <= 1 << 16 else "<u4"
        self._tokenizer = tokenizer.literal()
        self._instead = next((c for c in "\ufffd? " if not tokenizer.unwritable(c)), "")

    def encoded(
        self, documents: Iterator[Document], *, workers: int, together: int = MOST_TOGETHER
    ) -> Generator[Encoded]:
        """Each document in turn, while `workers` threads are some way ahead, with at most `together` at a time."""
        with ThreadPoolExecutor(workers, "encoding") as pool:
            ahead: deque[Future[list[Encoded]]] = deque()
            try:
                for batch in _batches(documents, together):
                    ahead.append(pool.submit(self.encode, batch))
                    while ahead and (ahead[0].done() or len(ahead) > 2 * workers):
                        yield from ahead.popleft().result()
                while ahead:
                    yield from ahead.popleft().result()
            finally:
                for waiting in ahead:
                    waiting.cancel()

    def encode(self, documents: list[Document]) -> list[Encoded]:
        """Several documents at once."""
        written = [self._written(document.text) for document in documents]
        ids = self._tokenizer.encode_many([text for text, _ in written])
        return [
            self._one(document, np.array(found, dtype=self.dtype), replaced)
            for document, found, (_, replaced) in zip(documents, ids, written, strict=True)
        ]

    def _one(self, document: Document, ids: Ids, replaced: int) -> Encoded:
        return Encoded(document, fingerprint(document.text), ids, bands(ids), replaced)

    def _written(self, text: str) -> tuple[str, int]:
        """A text that the vocabulary can write, and how many characters had to be replaced for that."""
        text, replaced = _HALVES.subn(self._instead, text)
        for character in self._tokenizer.unwritable(text):
            replaced += text.count(character)
            text = text.replace(character, self._instead)
        return text, replaced


def _batches(documents: Iterator[Document], together: int) -> Iterator[list[Document]]:
    while batch := list(_some(documents, together)):
        yield batch


def _some(documents: Iterator[Document], together: int) -> Iterator[Document]:
    size = 0
    for document in islice(documents, together):
        yield document
        size += len(document.text)
        if size >= _TOGETHER:
            return


def tokenizer_sha256(tokenizer: Tokenizer) -> str:
    """What two tokenizers share that give the same ids: every token's bytes, and how one text is divided."""
    digest = hashlib.sha256(str(tokenizer.d_vocab).encode())
    for token in range(tokenizer.d_vocab):
        digest.update(tokenizer.raw(token) + b"\xff")
    probe = tokenizer.literal().encode_many([_PROBE])[0]
    digest.update(np.array(probe, dtype="<u4").tobytes())
    return digest.hexdigest()
