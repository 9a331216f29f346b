"""Rows, computed: many readings carried down through all layers at once.

The frozen model is linear, so a row of the attribution matrix is a product of small matrices, and no gradient has to
be recorded. Readings of a block are carried together, `state[pos row d_model]`, layers downwards; at each layer they
first read what was written there, then are carried through its attention. A reading of position p sees positions up
to p only, so a block holds readings of near positions and drops what lies behind the last of them. What a row begins
with stands at one position, so its first attention is done for that alone; and below the last one only tokens read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.graph.adjoint import Adjoint, Block
from micrographia.graph.rowbook import Entry, RowBook
from micrographia.model.products import ROUNDED

__all__ = ["Readings", "Sweeper", "split"]

_OVERHEAD = 200
"""Pairs of row and position whose attention costs as much as one more block."""
_WORTH = 96
"""Pairs of row and position whose first attention is worth treating by itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Vectors to be carried down; several may belong to one row, which is their sum.

    `stage` says where a vector reads: 2l is the residual that enters block l, 2l + 1 the one in front of its MLP.
    """

    row: Int[Tensor, " reading"]
    stage: Int[Tensor, " reading"]
    position: Int[Tensor, " reading"]
    vectors: Float[Tensor, "reading d_model"]
    n_rows: int

    def __len__(self) -> int:
        return len(self.row)

    def of_rows(self, rows: Int[Tensor, " chosen"]) -> "Readings":
        """The readings of some rows, which are numbered anew in the order given."""
        number = torch.full((self.n_rows,), -1, dtype=torch.long, device=self.row.device)
        number[rows] = torch.arange(len(rows), device=self.row.device)
        mine = (number[self.row] >= 0).nonzero()[:, 0]
        return Readings(number[self.row[mine]], self.stage[mine], self.position[mine], self.vectors[mine], len(rows))

    def extremes(self) -> tuple[Int[Tensor, " row"], Int[Tensor, " row"]]:
        """Each row's highest stage and last position."""
        start = torch.zeros(self.n_rows, dtype=torch.long, device=self.row.device)
        return (
            start.scatter_reduce(0, self.row, self.stage, "amax"),
            start.scatter_reduce(0, self.row, self.position, "amax"),
        )


def split(stage: Int[Tensor, " row"], position: Int[Tensor, " row"], size: int, overhead: int) -> list[Tensor]:
    """Rows in blocks of near positions, each with its highest stages first.

    A block holds about `size` pairs of row and position. One more block costs as much as `overhead` of them: so
    much is wasted on positions that lie behind a row's own, before a block is closed.
    """
    order = torch.argsort(position, stable=True)
    places = cast("list[int]", position[order].tolist())
    blocks: list[Tensor] = []
    first = waste = 0
    for i, (here, following) in enumerate(pairwise([*places, -1])):
        count = i + 1 - first
        waste += count * (following - here)
        if following < 0 or count * (here + 1) >= size or (following > here and waste > overhead):
            rows = order[first : i + 1]
            blocks.append(rows[torch.argsort(stage[rows], descending=True, stable=True)])
            first, waste = i + 1, 0
    return blocks


class Sweeper:
    """Carries readings down through one frozen run. It keeps its buffers from block to block."""

    def __init__(self, adjoint: Adjoint, *, block_size: int = 2048, overhead: int | None = None) -> None:
        """`block_size` and `overhead` are those of `split`; a pair that reads many writers costs more than others."""
        self.adjoint = adjoint
        self.block_size = block_size
        attention = adjoint.blocks[0].out.shape[1] + len(adjoint.blocks[0].back)
        read = sum(layout.width for layout in adjoint.layouts) / (adjoint.n_positions * adjoint.n_layers)
        self.overhead = round(_OVERHEAD * attention / (attention + read)) if overhead is None else overhead
        self._buffers: dict[str, Tensor] = {}
        self._more = ROUNDED * max(adjoint.blocks[0].out.shape)
        by_position = [adjoint.embed @ adjoint.blocks[0].back.T, adjoint.embed]
        self._tokens = tuple(part[:, :, None] for part in by_position)
        """Each token's vector: as a head's values below the last attention, and as it is."""

    def new_book(self, *, kept: torch.dtype | None = None, peer: bool = False, limit: int | None = None) -> RowBook:
        return RowBook(self.adjoint.layouts, self.adjoint.embed[0], kept=kept, peer=peer, limit=limit)

    def rows(self, readings: Readings, book: RowBook) -> Entry:
        """Every edge into every row: columns go to the book, in the order that `row` tells, the rest is given back."""
        a = self.adjoint
        stage, position = readings.extremes()
        blocks = split(stage, position, self.block_size, self.overhead)
        n, exact = len(stage), torch.float32 if a.dtype == torch.bfloat16 else a.dtype
        entry = Entry(
            torch.cat(blocks),
            a.embed.new_zeros(n, a.n_positions, dtype=exact),
            a.embed.new_zeros(n, dtype=exact),
            a.embed.new_zeros(n, dtype=torch.float64),
        )
        first = 0
        for rows in blocks:
            mine = slice(first, first + len(rows))
            _Descent(self, _State(self.room, readings.of_rows(rows), a), book, entry, mine).run()
            first = mine.stop
        return entry

    def read_tokens(self, entry: Entry, rows: slice, *read: tuple[Tensor, Tensor]) -> None:
        """Add, for some rows, the products of readings with what each token wrote."""
        for now, tokens in read:
            there = entry.tokens[rows, : len(now)]
            there += torch.bmm(now, tokens[: len(now)])[:, :, 0].T

    @property
    def below(self) -> tuple[Tensor, Tensor]:
        """Tokens as readings of the last attention's values meet them, and as readings of the residual do."""
        return self._tokens[0], self._tokens[1]

    def room(self, name: str, size: int) -> Tensor:
        """A buffer of this size, which keeps its memory warm from one block to the next."""
        there = self._buffers.get(name)
        if there is None or len(there) < size:
            there = self._buffers[name] = self.adjoint.embed.new_empty(size + self._more)
        return there[:size]


class _Descent:
    """One block of rows, from its highest stage down to the tokens."""

    def __init__(self, sweeper: Sweeper, state: "_State", book: RowBook, entry: Entry, rows: slice) -> None:
        self._sweeper, self._state, self._book, self._entry, self._rows = sweeper, state, book, entry, rows
        self._columns: dict[int, Tensor] = {}

    def run(self) -> None:
        for layer in reversed(range(self._sweeper.adjoint.n_layers)):
            self._cross(layer)

    def _cross(self, layer: int) -> None:
        """From the residual behind a layer to the one in front of it."""
        a, state = self._sweeper.adjoint, self._state
        block = a.blocks[layer]
        skipped = None
        if state.n_live:
            self._read(layer, block)
            skipped = block.skipped(state.now, self._sweeper.room("skipped", state.now.numel()))
        if a.parallel:
            self._attend(layer, block)
        if skipped is not None and a.parallel and not layer:
            live = slice(self._rows.start, self._rows.start + state.n_live)
            self._sweeper.read_tokens(self._entry, live, (skipped, self._sweeper.below[1]))
        elif skipped is not None:
            state.now.add_(skipped)
        if a.parallel:
            self._inject(2 * layer + 1, behind=layer == 0)
        elif (alone := state.arriving(2 * layer + 1)) is None:
            state.inject(2 * layer + 1)
            self._attend(layer, block)
        else:
            self._attend(layer, block)
            self._arrive(layer, block, *alone)
        self._inject(2 * layer, behind=layer == 0)

    def _read(self, layer: int, block: Block) -> None:
        state, entry = self._state, self._entry
        live = slice(self._rows.start, self._rows.start + state.n_live)
        constant = block.writers.read(state.now, self._room)
        if constant is not None:
            entry.bias[live] += constant.to(entry.bias.dtype)
        self._book.close(layer, self._room(layer), entry, live)
        del self._columns[layer]

    def _room(self, source: int) -> Tensor:
        """Where the rows that are there have their columns of a layer; all that will see it get theirs at once."""
        if source not in self._columns:
            count = self._state.live(2 * source + 2)
            self._columns[source] = self._book.room(
                source, self._book.n_rows + self._rows.start, count, self._state.n_positions
            )
        return self._columns[source][: self._state.n_live]

    def _attend(self, layer: int, block: Block) -> None:
        """All rows through the block's attention; below it are only tokens, which read what they can at once."""
        state, first = self._state, self._rows.start
        if not state.n_live:
            return
        live = slice(first, first + state.n_live)
        if block.attn_bias is not None:
            constant = torch.bmm(state.now, block.attn_bias[: state.n_positions, :, None])
            self._entry.bias[live] += constant[:, :, 0].sum(0).to(self._entry.bias.dtype)
        values = block.attend(state.now, self._sweeper.room)
        if layer:
            block.carry(state.now, values)
        else:
            behind, at = self._sweeper.below
            self._sweeper.read_tokens(self._entry, live, (values, behind), (state.now, at))

    def _arrive(self, layer: int, block: Block, vectors: Float[Tensor, "new d_model"], position: Tensor) -> None:
        """Rows that begin between a block's attention and its MLP: through that attention, and among the others."""
        if not len(vectors):
            return
        state, entry = self._state, self._entry
        new = slice(self._rows.start + state.n_live, self._rows.start + state.n_live + len(vectors))
        if block.attn_bias is not None:
            entry.bias[new] += (vectors * block.attn_bias[position]).sum(1).to(entry.bias.dtype)
        values = block.attend_alone(vectors, position, state.n_positions)
        if layer:
            state.grow(len(vectors)).copy_(values @ block.back)
            state.add(2 * layer + 1)
        else:
            self._sweeper.read_tokens(entry, new, (values, self._sweeper.below[0]))
            self._read_own(vectors, position, torch.arange(new.start, new.stop, device=position.device))

    def _inject(self, stage: int, *, behind: bool) -> None:
        """Readings that begin at a stage; those behind everything meet only the tokens."""
        if not behind:
            self._state.inject(stage)
            return
        row, position, vectors = self._state.readings_at(stage)
        if len(row):
            self._read_own(vectors, position, row + self._rows.start)

    def _read_own(self, vectors: Float[Tensor, "new d_model"], position: Tensor, row: Tensor) -> None:
        embed = self._sweeper.adjoint.embed
        read = (vectors * embed[position]).sum(1).to(self._entry.tokens.dtype)
        self._entry.tokens.index_put_((row, position), read, accumulate=True)


class _State:
    """The readings of one block on their way down. Rows come in when their highest stage is reached."""

    def __init__(self, room: Callable[[str, int], Tensor], readings: Readings, adjoint: Adjoint) -> None:
        self.n_positions = int(readings.position.max()) + 1
        self._d_model, self._dtype = adjoint.embed.shape[1], adjoint.dtype
        size = self.n_positions * readings.n_rows * self._d_model
        self._rooms = (room("even", size), room("odd", size))
        self._readings = readings
        tops, _ = readings.extremes()
        n_stages = 2 * adjoint.n_layers + 1
        self._live = cast("list[int]", torch.bincount(tops, minlength=n_stages).flip(0).cumsum(0).flip(0).tolist())
        order = torch.argsort(readings.stage, stable=True)
        ends = cast("list[int]", torch.bincount(readings.stage, minlength=n_stages).cumsum(0).tolist())
        self._at = [order[first:end] if end > first else None for first, end in pairwise([0, *ends])]
        self.now = self._view(0)
        self.inject(2 * adjoint.n_layers)

    @property
    def n_live(self) -> int:
        return self.now.shape[1]

    def live(self, stage: int) -> int:
        """How many rows begin at a stage or above it."""
        return self._live[stage]

    def readings_at(self, stage: int) -> tuple[Tensor, Tensor, Float[Tensor, "new d_model"]]:
        """Row, position and vector of what begins at a stage."""
        r, mine = self._readings, self._at[stage]
        if mine is None:
            return r.row[:0], r.position[:0], r.vectors[:0]
        return r.row[mine], r.position[mine], r.vectors[mine].to(self._dtype)

    def arriving(self, stage: int) -> tuple[Float[Tensor, "new d_model"], Tensor] | None:
        """Vectors and positions of the rows that begin at a stage; None if others begin there, too, or they are few."""
        new, mine = self._live[stage] - self.n_live, self._at[stage]
        if mine is not None and (len(mine) != new or new * self.n_positions < _WORTH):
            return None
        row, position, vectors = self.readings_at(stage)
        order = torch.argsort(row)
        return vectors[order], position[order]

    def inject(self, stage: int) -> None:
        """Let in the rows that begin here, and add every reading of this stage."""
        if self._at[stage] is None:
            return
        n_new = self._live[stage] - self.n_live
        if n_new:
            self.grow(n_new).zero_()
        self.add(stage)

    def grow(self, n_new: int) -> Float[Tensor, "pos new d_model"]:
        """Room for more rows behind those that are there; what it holds means nothing."""
        old, n_old = self.now, self.n_live
        self._rooms = self._rooms[::-1]
        self.now = self._view(n_old + n_new)
        self.now[:, :n_old] = old
        return self.now[:, n_old:]

    def add(self, stage: int) -> None:
        row, position, vectors = self.readings_at(stage)
        self.now.index_put_((position, row), vectors, accumulate=True)

    def _view(self, n_rows: int) -> Float[Tensor, "pos row d_model"]:
        size = self.n_positions * n_rows * self._d_model
        return self._rooms[0][:size].view(self.n_positions, n_rows, self._d_model)
