"""What writes to one layer's MLP output: features, the error, the constant; and how rows read them all.

A transcoder has few active features, other ones at each position: their vectors are gathered once, in arrays of near
positions, padded to as many in each. Neurons are all active everywhere and share one matrix, which is multiplied as it
is. Rows are read straight to where they are kept, so the order of a layer's columns is that of these arrays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, TypeAlias, cast, final, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.bases.basis import Decomposition, LayerFeatures
from micrographia.ids import Layer
from micrographia.model.products import multiply, rounded

__all__ = ["DenseWriters", "Layout", "Room", "Run", "SparseWriters", "Writers", "layout_of", "writers_of"]

_WASTE = 96
"""Padding that is cheaper than one more product of small matrices."""
_LEADING = 2
"""At each position a constant, then an error, then features."""

Room: TypeAlias = Callable[[int], Tensor]
"""For the layer of a source, where rows are kept: [row column], positions in front, and zero where nothing was read."""


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring positions that have as many columns each."""

    first: int
    end: int
    each: int
    start: int
    """Its first column."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where the sources of one layer have their columns: position after position, each run of them padded."""

    runs: tuple[Run, ...]
    ends: tuple[int, ...]
    """How many columns the first positions have: for none of them, for one, and so on."""
    place: Int[Tensor, " feature"] | None
    """The column of each active feature; None where features alone have columns, in their own order."""
    constants: Int[Tensor, " pos"] | None
    errors: Int[Tensor, " pos"] | None
    once: bool
    """Whether its sources write to one layer only."""

    @property
    def width(self) -> int:
        return self.ends[-1]

    def by_position(self, columns: Float[Tensor, "row column"]) -> Float[Tensor, "row pos"]:
        """The sums over the columns at each position, and 0 at positions behind those that have columns here."""
        sums = columns.new_zeros(len(columns), len(self.ends) - 1)
        for run in self.runs:
            if run.start >= columns.shape[1]:
                break
            there = columns[:, run.start : run.start + _size(run)]
            count = there.shape[1] // run.each
            sums[:, run.first : run.first + count] = there.view(len(there), count, run.each).sum(2)
        return sums


@runtime_checkable
class Writers(Protocol):
    """Whoever writes to a layer.

    `read` takes readings of the residual behind the layer's MLP, at the first positions of the prompt. It adds the
    product of each reading with what each source wrote, its activation included, to the room of the source's layer, and
    gives back what it read of constants that have no column.
    """

    def read(self, state: Float[Tensor, "pos row d_model"], room: Room, /) -> Float[Tensor, " row"] | None: ...


_Part: TypeAlias = tuple[int, bool, tuple[tuple[Run, Tensor], ...]]
"""A source layer; whether it is read here only; for each run of its layout, what it writes: [pos column d_model]."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class SparseWriters:
    """The error, the constant and features of one or several layers."""

    parts: tuple[_Part, ...]

    def read(self, state: Float[Tensor, "pos row d_model"], room: Room, /) -> None:
        n_positions, n_rows, _ = state.shape
        for source, once, runs in self.parts:
            there = room(source)
            for run, vectors in runs:
                count = min(run.end, n_positions) - run.first
                if count <= 0:
                    break
                columns = there[:, run.start : run.start + count * run.each]
                out = columns.view(n_rows, count, run.each).transpose(0, 1)
                now, written = state[run.first : run.first + count], vectors[:count].transpose(1, 2)
                if now.dtype == torch.bfloat16 and now.device.type == "cpu":
                    # In bfloat16 a program would be compiled for each of these many shapes, which takes far longer.
                    now, written = now.float(), written.float()
                if out.dtype == now.dtype:
                    torch.baddbmm(out, now, written, beta=int(not once), out=out)
                else:
                    out.copy_(torch.bmm(now, written) if once else out + torch.bmm(now, written))


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseWriters:
    """Every neuron at every position, of one layer; there is no error."""

    layer: int
    vectors: Float[Tensor, "feature d_model"]
    activation: Float[Tensor, "pos feature"]
    """Over the scale of the norm behind the MLP, where there is one."""
    constant: Float[Tensor, "pos d_model"] | None

    def read(self, state: Float[Tensor, "pos row d_model"], room: Room, /) -> Float[Tensor, " row"] | None:
        n_positions, n_rows, d_model = state.shape
        count = n_positions * n_rows
        read = state.new_empty(rounded(count), len(self.vectors))[:count]
        multiply(state.view(-1, d_model), self.vectors.T, read)
        read = read.view(n_positions, n_rows, -1)
        there = room(self.layer)[:, : n_positions * read.shape[-1]].view(n_rows, n_positions, -1)
        torch.mul(read, self.activation[:n_positions, None], out=there.transpose(0, 1))
        if self.constant is None:
            return None
        return torch.bmm(state, self.constant[:n_positions, :, None])[:, :, 0].sum(0)


# ---------------------------------------------------------------- from a decomposition


def layout_of(found: Decomposition, layer: int) -> Layout:
    """The columns of a layer's active features, errors and constants."""
    features, n_positions = found.layers[layer], len(found.frozen.embed)
    if _is_dense(found, layer):
        each = len(features.feature) // n_positions
        ends = tuple(each * p for p in range(n_positions + 1))
        return Layout((Run(0, n_positions, each, 0),), ends, None, None, None, once=True)
    count = torch.bincount(features.position, minlength=n_positions)
    runs = _runs([_LEADING + n for n in cast("list[int]", count.tolist())])
    widths = [run.each for run in runs for _ in range(run.first, run.end)]
    ends = (0, *accumulate(widths))
    first = torch.tensor(ends[:-1], device=count.device)
    nth = torch.arange(len(features.position), device=count.device) - (count.cumsum(0) - count)[features.position]
    place = first[features.position] + _LEADING + nth
    return Layout(runs, ends, place, first, first + 1, once=len(features.writes) <= 1)


def writers_of(
    found: Decomposition,
    layer: int,
    constant: Float[Tensor, "pos d_model"],
    dtype: torch.dtype,
    layouts: tuple[Layout, ...],
) -> Writers:
    """The writers of a layer, in whichever form suits them."""
    features = found.layers[layer]
    if _is_dense(found, layer):
        term, n_positions = features.writes[features.layer], len(constant)
        activation = features.activation.view(n_positions, -1)
        return DenseWriters(
            layer,
            term.rows.to(dtype),
            (activation if term.scale is None else activation / term.scale).to(dtype),
            constant.to(dtype) if bool(constant.any()) else None,
        )
    parts: list[_Part] = []
    for number, source in enumerate(found.layers[: layer + 1]):
        if number == layer or features.layer in source.writes:
            own = constant if number == layer else None
            runs = _gathered(source, features.layer, layouts[number], own, dtype)
            parts.append((number, layouts[number].once, runs))
    return SparseWriters(tuple(parts))


def _is_dense(found: Decomposition, layer: int) -> bool:
    """Whether all that writes to a layer is all of its own features, active at each position."""
    features = found.layers[layer]
    term = features.writes.get(features.layer)
    alone = len(features.writes) == 1 and all(features.layer not in other.writes for other in found.layers[:layer])
    whole = term is not None and len(features.feature) == len(found.frozen.embed) * len(term.rows)
    return whole and alone and features.error is None


def _runs(widths: list[int]) -> tuple[Run, ...]:
    """Positions side by side that differ little in what they have."""
    runs: list[Run] = []
    first = start = widest = total = 0
    for position, width in enumerate(widths):
        both, count = max(widest, width), position - first
        if count and both * (count + 1) - total - width > _WASTE:
            runs.append(Run(first, position, widest, start))
            start += widest * count
            first, both, total = position, width, 0
        widest, total = both, total + width
    return (*runs, Run(first, len(widths), widest, start))


def _gathered(
    source: LayerFeatures, to: Layer, layout: Layout, constant: Tensor | None, dtype: torch.dtype
) -> tuple[tuple[Run, Tensor], ...]:
    """What a layer's sources write to a layer, in the order of their columns."""
    d_model = source.constant.shape[1]
    vectors = source.constant.new_zeros(layout.width, d_model, dtype=dtype)
    if to in source.writes:
        assert layout.place is not None, "features that stand by themselves are not gathered"
        vectors.index_copy_(0, layout.place, (source.activation[:, None] * source.write_vectors(to)).to(dtype))
    if constant is not None:
        assert layout.constants is not None
        assert layout.errors is not None
        vectors.index_copy_(0, layout.constants, constant.to(dtype))
        if source.error is not None:
            vectors.index_copy_(0, layout.errors, source.error.to(dtype))
    return tuple((run, vectors[run.start :][: _size(run)].view(-1, run.each, d_model)) for run in layout.runs)


def _size(run: Run) -> int:
    return (run.end - run.first) * run.each
