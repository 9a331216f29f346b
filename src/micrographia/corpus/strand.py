"""All tokens of one split as one long row, mapped from as many shards as there are, with its documents."""

from collections.abc import Sequence
from typing import final

import numpy as np
import numpy.typing as npt

from micrographia.corpus.encoding import Ids
from micrographia.corpus.shards import Table

__all__ = ["Strand"]


@final
class Strand:
    """The tokens and documents of one split. Both are counted from 0 over all shards."""

    __slots__ = ("_document_ends", "_tables", "_token_ends", "n_documents", "n_tokens")

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tuple(tables)
        self._token_ends = np.cumsum([len(table.tokens) for table in tables], dtype=np.int64)
        self._document_ends = np.cumsum([len(table.starts) for table in tables], dtype=np.int64)
        self.n_tokens = int(self._token_ends[-1]) if tables else 0
        self.n_documents = int(self._document_ends[-1]) if tables else 0

    def read(self, start: int, stop: int) -> Ids:
        """The tokens from `start` to before `stop`; a view where they lie in one shard."""
        first = int(np.searchsorted(self._token_ends, start, side="right"))
        parts: list[Ids] = []
        for number in range(first, len(self._tables)):
            before = int(self._token_ends[number - 1]) if number else 0
            if before >= stop:
                break
            parts.append(self._tables[number].tokens[max(start - before, 0) : stop - before])
        return parts[0] if len(parts) == 1 else np.concatenate([*parts, self._tables[0].tokens[:0]])

    def around(self, start: int, n: int) -> Ids:
        """`n` tokens from `start` on; behind the last token comes the first."""
        over = start + n - self.n_tokens
        if over <= 0:
            return self.read(start, start + n)
        return np.concatenate([self.read(start, self.n_tokens), self.read(0, over)])

    def bounds(self, document: int) -> tuple[int, int]:
        """Where a document begins and ends, what stands in front of it included."""
        number, index = self._place(document)
        before = int(self._token_ends[number - 1]) if number else 0
        begin, end = self._tables[number].bounds(index)
        return before + begin, before + end

    def lengths(self) -> npt.NDArray[np.int64]:
        """How many tokens each document has."""
        ends = [np.append(table.starts[1:], len(table.tokens)) for table in self._tables if len(table.starts)]
        starts = [table.starts for table in self._tables if len(table.starts)]
        return np.concatenate([np.zeros(0, dtype=np.int64), *ends]) - np.concatenate([np.zeros(0, np.int64), *starts])

    def document_at(self, token: int) -> int:
        """The document to which a token belongs."""
        number = int(np.searchsorted(self._token_ends, token, side="right"))
        inside = token - (int(self._token_ends[number - 1]) if number else 0)
        index = int(np.searchsorted(self._tables[number].starts, inside, side="right")) - 1
        return index + (int(self._document_ends[number - 1]) if number else 0)

    def begins(self, token: int) -> bool:
        """Whether a document begins there."""
        return self.bounds(self.document_at(token))[0] == token

    def name(self, document: int) -> str:
        number, index = self._place(document)
        return self._tables[number].name(index)

    def source(self, document: int) -> int:
        number, index = self._place(document)
        return int(self._tables[number].sources[index])

    def fingerprint(self, document: int) -> int:
        number, index = self._place(document)
        return int(self._tables[number].fingerprints[index])

    def _place(self, document: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._document_ends, document, side="right"))
        return number, document - (int(self._document_ends[number - 1]) if number else 0)
