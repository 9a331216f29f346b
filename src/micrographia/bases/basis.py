"""What every basis gives: one run's MLP outputs, written as sums of features.

    m[l, p] = Σ_f a[f, p] · w[f → l] + skip[l] · x[l, p] + constant[l, p] + error[l, p]

with a[f, p] = read[f, p] · x[l, p] + read_bias[f, p] for every active feature. Here x is the normalised input of the
MLP and m what the MLP adds to the residual stream, behind any post-norm. Both equations hold exactly on the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from micrographia.ids import Layer
from micrographia.model.frozen import Frozen

__all__ = ["Basis", "Decomposition", "LayerFeatures", "ReadTerm", "WriteTerm"]


@dataclass(frozen=True, slots=True)
class ReadTerm:
    """A share of the read vectors: node i reads `gain[i] · rows[feature[i]]`; no gain is a gain of one."""

    rows: Float[Tensor, "feature d_model"]
    gain: Float[Tensor, " node"] | None = None


@dataclass(frozen=True, slots=True)
class WriteTerm:
    """What the features of one layer write to one layer: `rows[f]`, divided by `scale[p]` behind a post-norm."""

    rows: Float[Tensor, "feature d_model"]
    scale: Float[Tensor, "pos one"] | None = None


@dataclass(frozen=True, slots=True)
class LayerFeatures:
    """One layer's active features on one prompt, ordered by position, then feature."""

    layer: Layer
    position: Int[Tensor, " node"]
    feature: Int[Tensor, " node"]
    activation: Float[Tensor, " node"]
    reads: tuple[ReadTerm, ...]
    read_bias: Float[Tensor, " node"]
    writes: Mapping[Layer, WriteTerm]
    skip: Float[Tensor, "d_model d_model"] | None
    constant: Float[Tensor, "pos d_model"]
    error: Float[Tensor, "pos d_model"] | None
    """What the features, the skip path and the constant leave unexplained; None in an exact basis."""

    def only(self, rows: Int[Tensor, " some"] | Bool[Tensor, " node"]) -> "LayerFeatures":
        """Some of the features; all else as it is, so that what the others write is in nobody's account."""
        return replace(
            self,
            position=self.position[rows],
            feature=self.feature[rows],
            activation=self.activation[rows],
            reads=tuple(t if t.gain is None else replace(t, gain=t.gain[rows]) for t in self.reads),
            read_bias=self.read_bias[rows],
        )

    def read_vectors(self) -> Float[Tensor, "node d_model"]:
        """What multiplies the normalised input of the MLP at each node's position."""
        terms = [
            term.rows[self.feature] if term.gain is None else term.gain[:, None] * term.rows[self.feature]
            for term in self.reads
        ]
        return torch.stack(terms).sum(0)

    def write_vectors(self, to: Layer) -> Float[Tensor, "node d_model"]:
        """What a unit of each node's activation adds to the output of layer `to`."""
        term = self.writes[to]
        rows = term.rows[self.feature]
        return rows if term.scale is None else rows / term.scale[self.position]

    def written(self, to: Layer, n_positions: int) -> Float[Tensor, "pos d_model"]:
        """What all nodes together add to the output of layer `to`."""
        vectors = self.activation[:, None] * self.write_vectors(to)
        return vectors.new_zeros(n_positions, vectors.shape[-1]).index_add_(0, self.position, vectors)


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A frozen run in a basis: one entry per layer of the model."""

    frozen: Frozen
    layers: tuple[LayerFeatures, ...]

    def rebuilt(self, layer: int) -> Float[Tensor, "pos d_model"]:
        """The MLP output of a layer, from features of this and earlier layers, skip, constant and error."""
        here, n = self.layers[layer], len(self.frozen.prompt.ids)
        total = here.constant.clone()
        for source in self.layers[: layer + 1]:
            if here.layer in source.writes:
                total = total + source.written(here.layer, n)
        if here.skip is not None:
            total = total + self.frozen.mlp_in(layer) @ here.skip.T
        return total if here.error is None else total + here.error


@runtime_checkable
class Basis(Protocol):
    """A way to write MLP outputs as sums of features.

    `decompose` must keep both equations of this module's head on the run it is given, for every layer of the model:
    a layer that the basis does not cover has no features, and all of its output is error.
    """

    def decompose(self, frozen: Frozen, /) -> Decomposition: ...
