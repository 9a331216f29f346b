"""Rows, computed: many readings carried down through all layers at once.

The frozen model is linear, so a row of the attribution matrix is a product of small matrices, and no gradient has to
be recorded. Readings of a block are carried together, `state[pos row d_model]`, layers downwards; at each layer they
first read what was written there, then are carried through its attention. A reading of position p sees positions up
to p only, so a block holds readings of near positions and drops what lies behind the last of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.graph.adjoint import Adjoint, Block
from micrographia.graph.writers import Written

__all__ = ["Edges", "Readings", "Sweeper", "split"]


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


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Complete rows of the attribution matrix, sources by the layer of the feature.

    A row's own constant (`b_enc` and the like) is not in `bias`; what reaches it from elsewhere is.
    """

    row: Int[Tensor, " row"]
    """Which of the rows that were asked for each is."""
    features: list[Tensor | None]
    """[row source] of each layer; None where no row reads that layer, or where it was folded."""
    errors: Float[Tensor, "row layer pos"]
    tokens: Float[Tensor, "row pos"]
    bias: Float[Tensor, " row"]
    whole: Float[Tensor, "row all_sources"]
    """All of `features` in one piece, where that was asked for; else empty."""

    @property
    def n_rows(self) -> int:
        return len(self.bias)


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

    def __init__(self, adjoint: Adjoint, *, block_size: int = 2048, overhead: int = 100) -> None:
        self.adjoint = adjoint
        self.block_size = block_size
        self.overhead = overhead
        self._buffers: dict[str, Tensor] = {}

    def rows(self, readings: Readings, *, together: bool = False) -> Edges:
        """Every edge into every row, in the order that `Edges.row` tells.

        `together` keeps all layers' columns in one piece of memory, which is then only given back as a whole.
        """
        stage, position = readings.extremes()
        blocks = split(stage, position, self.block_size, self.overhead)
        edges = self._empty(torch.cat(blocks), int(stage.max()), together=together)
        first = 0
        for rows in blocks:
            mine = slice(first, first + len(rows))
            self._sweep(_State(self._room, readings.of_rows(rows), mine, self.adjoint), edges)
            first = mine.stop
        return edges

    def trial(self) -> Tensor:
        """One layer's attention, carried for as many rows as a block usually has: what most of the time goes into."""
        a = self.adjoint
        n_rows = max(1, self.block_size // (4 * a.n_positions))
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(a.n_positions, n_rows, a.embed.shape[1], generator=generator)
        state = drawn.to(a.embed)
        self._through(a.blocks[-1], state)
        return state

    def _empty(self, rows: Int[Tensor, " row"], top: int, *, together: bool) -> Edges:
        a = self.adjoint
        dtype = torch.float32 if a.dtype == torch.bfloat16 else a.dtype

        def new(*shape: int) -> Tensor:
            return a.embed.new_zeros(shape, dtype=dtype)

        n, n_positions = len(rows), a.n_positions
        widths = [len(layer.feature) for layer in a.decomposition.layers if 2 * layer.layer + 1 < top]
        whole = new(n, sum(widths) if together else 0)
        pieces = cast("Sequence[Tensor]", whole.split(widths, 1)) if together else [new(n, width) for width in widths]
        features: list[Tensor | None] = [*pieces, *[None] * (a.n_layers - len(widths))]
        return Edges(rows, features, new(n, a.n_layers, n_positions), new(n, n_positions), new(n), whole)

    def _sweep(self, state: "_State", edges: Edges) -> None:
        """One block, from its highest stage down to the tokens."""
        a = self.adjoint
        for layer in reversed(range(a.n_layers)):
            self._cross(layer, state, edges)
        read = torch.bmm(state.now, a.embed[: state.n_positions, :, None])
        edges.tokens[state.rows, : state.n_positions] = read[:, :, 0].T.to(edges.tokens.dtype)

    def _cross(self, layer: int, state: "_State", edges: Edges) -> None:
        """From the residual behind a layer to the one in front of it."""
        block, parallel = self.adjoint.blocks[layer], self.adjoint.parallel
        if state.n_live:
            _record(block.writers.read(state.now), layer, state.rows.start, edges)
            skipped = block.skipped(state.now, self._room("skipped", state.now.numel()))
            if parallel:
                self._attend(block, state, edges)
            if skipped is not None:
                state.now.add_(skipped)
        state.inject(2 * layer + 1)
        if state.n_live and not parallel:
            self._attend(block, state, edges)
        state.inject(2 * layer)

    def _attend(self, block: Block, state: "_State", edges: Edges) -> None:
        if block.attn_bias is not None:
            constant = torch.bmm(state.now, block.attn_bias[: state.n_positions, :, None])
            first = state.rows.start
            edges.bias[first : first + state.n_live] += constant[:, :, 0].sum(0)
        self._through(block, state.now)

    def _through(self, block: Block, state: Float[Tensor, "pos row d_model"]) -> None:
        """Add what readings of the residual behind a block's attention read through it."""
        size = state.shape[0] * state.shape[1]
        heads = self._room("heads", block.out.shape[0] * block.out.shape[2] * size)
        values = self._room("values", block.back.shape[0] * block.back.shape[1] * size)
        block.carry(state, block.attend(state, heads, values))

    def _room(self, name: str, size: int) -> Tensor:
        """A buffer of at least this size, which keeps its memory warm from one block to the next."""
        there = self._buffers.get(name)
        if there is None or len(there) < size:
            there = self._buffers[name] = self.adjoint.embed.new_empty(size)
        return there


class _State:
    """The readings of one block on their way down. Rows come in when their highest stage is reached."""

    def __init__(self, room: Callable[[str, int], Tensor], readings: Readings, rows: slice, adjoint: Adjoint) -> None:
        self.rows = rows
        """Where its rows lie among those of the whole sweep."""
        self.n_positions = int(readings.position.max()) + 1
        self._d_model = adjoint.embed.shape[1]
        size = self.n_positions * readings.n_rows * self._d_model
        self._rooms = (room("even", size), room("odd", size))
        self._readings = readings
        tops, _ = readings.extremes()
        n_stages = 2 * adjoint.n_layers + 1
        self._live = cast("list[int]", torch.bincount(tops, minlength=n_stages).flip(0).cumsum(0).flip(0).tolist())
        order = torch.argsort(readings.stage, stable=True)
        ends = cast("list[int]", torch.bincount(readings.stage, minlength=n_stages).cumsum(0).tolist())
        self._at = [order[first:end] for first, end in pairwise([0, *ends])]
        self.now = self._view(0)
        self.inject(2 * adjoint.n_layers)

    @property
    def n_live(self) -> int:
        return self.now.shape[1]

    def inject(self, stage: int) -> None:
        """Let in the rows that begin here, and add every reading of this stage."""
        if not len(self._at[stage]):
            return
        n_old, n_new = self.n_live, self._live[stage]
        if n_new > n_old:
            old = self.now
            self._rooms = self._rooms[::-1]
            self.now = self._view(n_new)
            self.now[:, :n_old] = old
            self.now[:, n_old:] = 0
        r, mine = self._readings, self._at[stage]
        self.now.index_put_((r.position[mine], r.row[mine]), r.vectors[mine].to(self.now.dtype), accumulate=True)

    def _view(self, n_rows: int) -> Float[Tensor, "pos row d_model"]:
        size = self.n_positions * n_rows * self._d_model
        return self._rooms[0][:size].view(self.n_positions, n_rows, self._d_model)


def _record(read: Written, layer: int, first: int, edges: Edges) -> None:
    for source, found in read.features:
        there = edges.features[source]
        assert there is not None, "a row reads only layers below its highest stage"
        there[first : first + len(found), : found.shape[1]] += found
    n_rows = len(read.constant)
    edges.bias[first : first + n_rows] += read.constant
    if read.error is not None:
        edges.errors[first : first + n_rows, layer, : read.error.shape[1]] = read.error.to(edges.errors.dtype)
