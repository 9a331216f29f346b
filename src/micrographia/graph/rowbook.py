"""The rows computed so far: each layer's columns, for the rows that lie above it, and what flows through them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.errors import WorkError
from micrographia.graph.writers import Layout
from micrographia.store import readable_size

__all__ = ["Columns", "Entry", "Folded", "RowBook"]

_AT_ONCE = 1 << 16
"""Numbers whose magnitudes are taken at once: they stay in the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What rows of one call of the sweep have beside columns, in the order of the sweep."""

    row: Int[Tensor, " row"]
    """The number of each of them among those asked for."""
    tokens: Float[Tensor, "row pos"]
    bias: Float[Tensor, " row"]
    """All that is constant and written by the model; a row's own constant is not in it."""
    total: Float[Tensor, " row"]
    """Σ |A| over features and errors, in float64."""


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """One layer's columns after the choice, for the rows that have them."""

    rows: Int[Tensor, " row"]
    kept: Float[Tensor, "row chosen"]
    signed: Float[Tensor, "row pos"]
    """The sum of the features that were not chosen."""
    magnitude: Float[Tensor, "row pos"]
    errors: Float[Tensor, "row pos"] | None

    @staticmethod
    def joined(parts: "Sequence[Folded]") -> "Folded":
        """Those of several blocks of rows as one."""
        rows, kept, signed, magnitude = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("rows", "kept", "signed", "magnitude")
        )
        errors = [part.errors for part in parts if part.errors is not None]
        return Folded(rows, kept, signed, magnitude, torch.cat(errors) if errors else None)


class Columns:
    """One layer's columns, for rows in the order in which they came.

    They lie in pieces. A large piece holds the rows of one block of the sweep, and ends at the last position that these
    read; small ones are filled one after the other, so that there are few.
    """

    def __init__(self, layout: Layout, like: Tensor, *, peer: bool = False) -> None:
        self.layout = layout
        self.exact = torch.float64 if like.dtype == torch.float64 else torch.float32
        """What sums over columns are made in."""
        self.counted = like.new_ones(layout.width, dtype=self.exact)
        """0 for what counts nothing in a row's total."""
        self.constant = None if layout.constants is None else torch.zeros_like(self.counted)
        """1 for constants."""
        if layout.constants is not None and self.constant is not None:
            self.counted[layout.constants] = 0
            self.constant[layout.constants] = 1
        if peer and layout.errors is not None:
            self.counted[layout.errors[0]] = 0
        self._like = like
        self._pieces: list[Tensor] = []
        self._filled: list[int] = []
        self._rows = torch.empty(0, dtype=torch.long, device=like.device)

    def room(self, first_row: int, count: int, n_positions: int) -> Float[Tensor, "row column"]:
        """Room for so many more rows, whose numbers follow each other; zero where they are not read once."""
        layout = self.layout
        width, some = layout.ends[n_positions], max(1, _AT_ONCE // max(1, layout.width))
        if count >= some:
            self._pieces.append((self._like.new_empty if layout.once else self._like.new_zeros)(count, width))
            self._filled.append(0)
        elif not self._pieces or self._filled[-1] + count > len(self._pieces[-1]):
            self._pieces.append(self._like.new_zeros(some, layout.width))
            self._filled.append(0)
        start = self._filled[-1]
        self._filled[-1] += count
        self._rows = torch.cat([self._rows, torch.arange(first_row, first_row + count, device=self._like.device)])
        return self._pieces[-1][start : start + count]

    @property
    def bytes(self) -> int:
        """What its rows take."""
        return sum(piece.numel() for piece in self._filled_pieces()) * self._like.element_size()

    def flow(self, parts: Float[Tensor, " row"]) -> Float[Tensor, " feature"]:
        """Σ parts[row] · |A[row, feature]|, in float64."""
        total = torch.zeros(self.layout.width, dtype=torch.float64, device=self._like.device)
        if len(self._rows):
            mine = parts[self._rows]
            some = min(max(1, _AT_ONCE // max(1, self.layout.width)), len(mine))
            room = torch.empty(some, self.layout.width, dtype=self.exact, device=self._like.device)
            small, first = mine.to(self.exact), 0
            for piece in self._filled_pieces():
                width = piece.shape[1]
                for block in cast("Sequence[Tensor]", piece.split(some)):
                    magnitudes = room[: len(block), :width].copy_(block).abs_()
                    total[:width] += small[first : first + len(block)] @ magnitudes
                    first += len(block)
        return total if self.layout.place is None else total[self.layout.place]

    def fold(self, chosen: Int[Tensor, " chosen"], n_features: int) -> Folded:
        """The chosen columns as they are, the other features summed at each position; the columns are given back."""
        layout, n_positions = self.layout, len(self.layout.ends) - 1
        at = chosen if layout.place is None else layout.place[chosen]
        kept, signed, magnitude, errors = ([self._like.new_zeros(0, n)] for n in (len(at), *[n_positions] * 3))
        for piece in self._filled_pieces():
            if layout.constants is not None:
                _take(piece, layout.constants)
            kept.append(_take(piece, at))
            if layout.errors is not None:
                errors.append(_take(piece, layout.errors))
            if len(chosen) == n_features:
                signed.append(piece.new_zeros(len(piece), n_positions))
                magnitude.append(signed[-1])
            else:
                signed.append(layout.by_position(piece))
                magnitude.append(layout.by_position(piece.abs_()))
        rows = self._rows
        self._pieces, self._filled, self._rows = [], [], rows[:0]
        sums = torch.cat(signed), torch.cat(magnitude)
        return Folded(rows, torch.cat(kept), *sums, None if layout.errors is None else torch.cat(errors))

    def _filled_pieces(self) -> list[Float[Tensor, "row column"]]:
        return [piece[:filled] for piece, filled in zip(self._pieces, self._filled, strict=True)]


def _take(piece: Float[Tensor, "row column"], columns: Int[Tensor, " chosen"]) -> Float[Tensor, "row chosen"]:
    """Some columns, in ascending order; 0 for those behind the end of a piece. They are 0 there afterwards."""
    taken = piece.new_zeros(len(piece), len(columns))
    inside = columns[: int((columns < piece.shape[1]).sum())]
    taken[:, : len(inside)] = piece.index_select(1, inside)
    piece.index_fill_(1, inside, 0)
    return taken


class RowBook:
    """Rows as they come. Columns stay whole until their layer is folded: at once where the choice is known before."""

    def __init__(
        self,
        layouts: tuple[Layout, ...],
        like: Tensor,
        *,
        kept: torch.dtype | None = None,
        peer: bool = False,
        limit: int | None = None,
    ) -> None:
        """`like` is a tensor of the dtype and the device of rows; `kept` is another dtype in which columns are kept;
        `limit` is how many bytes they may take.

        With `peer`, errors at the first position and the bias count nothing in a row's total.
        """
        self.columns = [Columns(layout, like if kept is None else like.to(kept), peer=peer) for layout in layouts]
        self.peer = peer
        self.like = like
        self.layer = self.index = torch.empty(0, dtype=torch.long, device=like.device)
        """The layer of the feature that each row is of, the number of layers for a target; and which of its layer's
        active features, or which target."""
        self.total = torch.empty(0, dtype=torch.float64, device=like.device)
        """Σ |A| over the complete row."""
        self._tokens: list[Tensor] = []
        self._bias: list[Tensor] = []
        self._limit, self._held = limit, 0
        self._choice: list[tuple[Int[Tensor, " _"], int]] | None = None
        self._early: list[list[Folded]] = [[] for _ in layouts]

    def expect(self, chosen: Sequence[Int[Tensor, " _"]], counts: Sequence[int]) -> None:
        """Which of its features each layer will keep: their columns alone are held, so rows take little memory."""
        self._choice = list(zip(chosen, counts, strict=True))

    @property
    def n_rows(self) -> int:
        return len(self.total)

    @property
    def tokens(self) -> Float[Tensor, "row pos"]:
        return torch.cat(self._tokens)

    @property
    def bias(self) -> Float[Tensor, " row"]:
        """All that is constant: what the sweep found, and each row's own."""
        return torch.cat(self._bias)

    def room(self, layer: int, first_row: int, count: int, n_positions: int) -> Float[Tensor, "row column"]:
        """Where new rows, which read so many positions, have a layer's columns."""
        there = self.columns[layer].room(first_row, count, n_positions)
        self._held += there.numel() * there.element_size()
        if self._limit is not None and self._held > self._limit:
            raise WorkError(
                f"The rows of these features lie higher than was foreseen: they need more than "
                f"{readable_size(self._limit)}, which may be used. Ask for fewer features, or give more memory."
            )
        return there

    def fold(self, layer: int, chosen: Int[Tensor, " chosen"], n_features: int) -> Folded:
        """A layer's columns after the choice; their memory is given back."""
        early, self._early[layer] = self._early[layer], []
        last = self._emptied(layer, chosen, n_features)
        return Folded.joined([*early, last]) if early else last

    def _emptied(self, layer: int, chosen: Int[Tensor, " chosen"], n_features: int) -> Folded:
        held = self.columns[layer].bytes
        folded = self.columns[layer].fold(chosen, n_features)
        self._held -= held
        return folded

    def close(self, layer: int, columns: Float[Tensor, "row column"], entry: Entry, rows: slice) -> None:
        """What is known of rows when all writers of a layer's columns have been read: sums of magnitudes, constants."""
        here = self.columns[layer]
        if here.constant is not None:
            entry.bias[rows] += columns.to(here.exact) @ here.constant[: columns.shape[1]]
        entry.total[rows] += columns.abs().to(here.exact) @ here.counted[: columns.shape[1]]
        if self._choice is not None:
            chosen, count = self._choice[layer]
            self._early[layer].append(self._emptied(layer, chosen, count))

    def add(
        self, entry: Entry, layer: Int[Tensor, " row"], index: Int[Tensor, " row"], own_bias: Float[Tensor, " row"]
    ) -> slice:
        """Enter rows that were swept; what describes them is given in the order in which they were asked for."""
        bias = entry.bias + own_bias[entry.row].to(entry.bias.dtype)
        total = entry.total + entry.tokens.abs().sum(1, dtype=torch.float64)
        first = self.n_rows
        self.layer = torch.cat([self.layer, layer[entry.row]])
        self.index = torch.cat([self.index, index[entry.row]])
        self.total = torch.cat([self.total, total if self.peer else total + bias.abs().double()])
        self._tokens.append(entry.tokens)
        self._bias.append(bias)
        return slice(first, self.n_rows)
