"""What writes to one layer's MLP output: features, the error, the constant; and how rows read them all.

A transcoder has few active features, other ones at each position: their vectors are gathered once, position by
position, in a padded array. Neurons are all active everywhere and share one matrix, which is multiplied as it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.basis import Decomposition, LayerFeatures
from micrographia.ids import Layer

__all__ = ["DenseWriters", "SparseWriters", "Writers", "Written", "writers_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What rows read of one layer's writers."""

    features: tuple[tuple[int, Tensor], ...]
    """By the layer of the features; only those at the positions read, which come first."""
    error: Float[Tensor, "row pos"] | None
    constant: Float[Tensor, " row"]


@runtime_checkable
class Writers(Protocol):
    """Whoever writes to a layer.

    `read` takes readings of the residual behind the layer's MLP, at the first positions of the prompt, and gives the
    product of each reading with what each source wrote, its activation included.
    """

    def read(self, state: Float[Tensor, "pos row d_model"], /) -> Written: ...


_Part: TypeAlias = tuple[int, Tensor, list[int]]
"""A source layer; for each of its features, of which each layer has another number, the place in the padded array; how
many lie before each position."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class SparseWriters:
    """The error, the constant, then features of one or several layers, padded to as many at each position."""

    vectors: Float[Tensor, "pos slot d_model"]
    parts: tuple[_Part, ...]

    def read(self, state: Float[Tensor, "pos row d_model"], /) -> Written:
        n_positions, n_rows, _ = state.shape
        edges = torch.bmm(state, self.vectors[:n_positions].transpose(1, 2))
        flat = edges.transpose(0, 1).reshape(n_rows, -1)
        return Written(
            tuple((layer, flat[:, places[: before[n_positions]]]) for layer, places, before in self.parts),
            edges[:, :, 0].T,
            edges[:, :, 1].sum(0),
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseWriters:
    """Every neuron at every position, of one layer; there is no error."""

    layer: int
    vectors: Float[Tensor, "feature d_model"]
    activation: Float[Tensor, "pos feature"]
    """Over the scale of the norm behind the MLP, where there is one."""
    constant: Float[Tensor, "pos d_model"] | None

    def read(self, state: Float[Tensor, "pos row d_model"], /) -> Written:
        n_positions, n_rows, d_model = state.shape
        read = (state.view(-1, d_model) @ self.vectors.T).view(n_positions, n_rows, -1)
        edges = read.new_empty(n_rows, n_positions, read.shape[-1])
        torch.mul(read, self.activation[:n_positions, None], out=edges.transpose(0, 1))
        constant = (
            state.new_zeros(n_rows)
            if self.constant is None
            else torch.bmm(state, self.constant[:n_positions, :, None])[:, :, 0].sum(0)
        )
        return Written(((self.layer, edges.flatten(1)),), None, constant)


def writers_of(found: Decomposition, layer: int, constant: Float[Tensor, "pos d_model"], dtype: torch.dtype) -> Writers:
    """The writers of a layer, in whichever form suits them."""
    features = found.layers[layer]
    n_positions = len(constant)
    term = features.writes.get(features.layer)
    own = all(features.layer not in other.writes for other in found.layers[:layer])
    if term is not None and own and features.error is None and len(features.feature) == n_positions * len(term.rows):
        activation = features.activation.view(n_positions, -1)
        return DenseWriters(
            layer,
            term.rows.to(dtype),
            (activation if term.scale is None else activation / term.scale).to(dtype),
            constant.to(dtype) if bool(constant.any()) else None,
        )
    return _sparse(found, features, constant, dtype)


def _sparse(found: Decomposition, features: LayerFeatures, constant: Tensor, dtype: torch.dtype) -> SparseWriters:
    sources = [source for source in found.layers[: features.layer + 1] if features.layer in source.writes]
    n_positions, d_model = constant.shape
    counts = [torch.bincount(source.position, minlength=n_positions) for source in sources]
    wide = [int(count.max()) for count in counts]
    n_slots = 2 + sum(wide)
    vectors = constant.new_zeros(n_positions, n_slots, d_model, dtype=dtype)
    if features.error is not None:
        vectors[:, 0] = features.error.to(dtype)
    vectors[:, 1] = constant.to(dtype)
    parts: list[_Part] = []
    for source, count, first in zip(sources, counts, _running([2, *wide]), strict=True):
        before = torch.cat([count.new_zeros(1), count.cumsum(0)])
        slot = torch.arange(len(source.position), device=count.device) - before[source.position] + first
        places = source.position * n_slots + slot
        vectors.view(-1, d_model)[places] = _weighed(source, features.layer).to(dtype)
        parts.append((source.layer, places, cast("list[int]", before.tolist())))
    return SparseWriters(vectors, tuple(parts))


def _weighed(source: LayerFeatures, to: Layer) -> Float[Tensor, "source d_model"]:
    return source.activation[:, None] * source.write_vectors(to)


def _running(widths: list[int]) -> Iterator[int]:
    """Where each part begins: the sum of the widths before it."""
    total = 0
    for width in widths[:-1]:
        total += width
        yield total
