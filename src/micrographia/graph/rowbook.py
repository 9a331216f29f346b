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

_AT_ONCE = 1 << 18
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


class Columns:
    """One layer's columns, for rows in the order in which they came. They lie in pieces, of which each doubles all."""

    def __init__(self, layout: Layout, like: Tensor) -> None:
        self.layout = layout
        self.bytes = 0
        self._like = like
        self._pieces: list[Tensor] = []
        self._filled: list[int] = []
        self._rows: list[Int[Tensor, " row"]] = []

    def room(self, first_row: int, count: int) -> Float[Tensor, "row column"]:
        """Zeros for so many more rows, whose numbers follow each other."""
        if not self._pieces or self._filled[-1] + count > len(self._pieces[-1]):
            size = max(count, sum(self._filled) // 2)
            self._pieces.append(self._like.new_zeros(size, self.layout.width))
            self._filled.append(0)
        start = self._filled[-1]
        self._filled[-1] += count
        self._rows.append(torch.arange(first_row, first_row + count, device=self._like.device))
        there = self._pieces[-1][start : start + count]
        self.bytes += there.numel() * there.element_size()
        return there

    def flow(self, parts: Float[Tensor, " row"]) -> Float[Tensor, " feature"]:
        """Σ parts[row] · |A[row, feature]|, in float64."""
        total = torch.zeros(self.layout.width, dtype=torch.float64, device=self._like.device)
        if self._rows:
            mine = parts[torch.cat(self._rows)]
            exact = torch.float64 if self._like.dtype == torch.float64 else torch.float32
            some = max(1, _AT_ONCE // max(1, self.layout.width))
            room = torch.empty(some, self.layout.width, dtype=exact, device=self._like.device)
            small, first = mine.to(exact), 0
            for piece in self._filled_pieces():
                for block in cast("Sequence[Tensor]", piece.split(some)):
                    magnitudes = room[: len(block)].copy_(block).abs_()
                    total += small[first : first + len(block)] @ magnitudes
                    first += len(block)
        return total if self.layout.place is None else total[self.layout.place]

    def fold(self, chosen: Int[Tensor, " chosen"], n_features: int) -> Folded:
        """The chosen columns as they are, the other features summed at each position; the columns are given back."""
        layout, n_positions = self.layout, len(self.layout.ends) - 1
        at = chosen if layout.place is None else layout.place[chosen]
        kept, signed, magnitude, errors = ([self._like.new_zeros(0, n)] for n in (len(at), *[n_positions] * 3))
        for piece in self._filled_pieces():
            kept.append(piece.index_select(1, at))
            if layout.errors is not None:
                errors.append(piece.index_select(1, layout.errors))
                piece.index_fill_(1, layout.errors, 0)
            if len(chosen) == n_features:
                nothing = piece.new_zeros(len(piece), n_positions)
                signed.append(nothing)
                magnitude.append(nothing)
            else:
                piece.index_fill_(1, at, 0)
                signed.append(layout.by_position(piece))
                magnitude.append(layout.by_position(piece.abs_()))
        rows = torch.cat([chosen[:0], *self._rows])
        self._pieces, self._filled, self._rows, self.bytes = [], [], [], 0
        return Folded(
            rows,
            torch.cat(kept),
            torch.cat(signed),
            torch.cat(magnitude),
            torch.cat(errors) if layout.errors is not None else None,
        )

    def _filled_pieces(self) -> list[Float[Tensor, "row column"]]:
        return [piece[:filled] for piece, filled in zip(self._pieces, self._filled, strict=True)]


class RowBook:
    """Rows as they come. Columns stay whole until their layer is folded."""

    def __init__(
        self, layouts: tuple[Layout, ...], like: Tensor, *, peer: bool = False, limit: int | None = None
    ) -> None:
        """`like` is a tensor of the dtype and the device of rows; `limit` is how many bytes columns may take.

        With `peer`, errors at the first position and the bias count nothing in a row's total.
        """
        self.columns = [Columns(layout, like) for layout in layouts]
        self.peer = peer
        self.like = like
        self.layer = self.index = torch.empty(0, dtype=torch.long, device=like.device)
        """The layer of the feature that each row is of, the number of layers for a target; and which of its layer's
        active features, or which target."""
        self.total = torch.empty(0, dtype=torch.float64, device=like.device)
        """Σ |A| over the complete row."""
        self._tokens: list[Tensor] = []
        self._bias: list[Tensor] = []
        self._limit = limit

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

    def room(self, layer: int, first_row: int, count: int) -> Float[Tensor, "row column"]:
        """Where new rows have a layer's columns."""
        there = self.columns[layer].room(first_row, count)
        if self._limit is not None and (held := sum(columns.bytes for columns in self.columns)) > self._limit:
            raise WorkError(
                f"The rows of these features lie higher than was foreseen and need more than {readable_size(held)}, of "
                f"which {readable_size(self._limit)} may be used. Ask for fewer features, or give more memory."
            )
        return there

    def close(self, layer: int, columns: Float[Tensor, "row column"], entry: Entry, rows: slice) -> None:
        """What is known of rows when all writers of a layer's columns have been read: sums of magnitudes, constants."""
        layout = self.columns[layer].layout
        if layout.constants is not None:
            entry.bias[rows] += columns.index_select(1, layout.constants).sum(1).to(entry.bias.dtype)
            columns.index_fill_(1, layout.constants, 0)
        entry.total[rows] += columns.abs().sum(1, dtype=torch.float64)
        if self.peer and layout.errors is not None:
            entry.total[rows] -= columns[:, layout.errors[0]].abs().double()

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
