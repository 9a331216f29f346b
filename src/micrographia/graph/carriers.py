"""Which attention heads carry an edge from its source to its target, exactly.

An edge is a sum over paths: what the source wrote stays in the residual stream, or a head takes it to another position,
and further heads after that. Patterns and norm scales being held, each path is a product of matrices, so the edge is

    edge = direct + Σ last[l, h]                 by the head that delivers it, behind which no other one has a part
         = direct + Σ first[l, h]                by the head that takes it up, in front of which no other one had a part
         = direct + Σ only[l, h] + several       by the one head that it passes, and by several in a row

`through[l, h]` is what the edge loses if the head is cut out: all paths through it. A path through two heads counts at
both, so these do not add up to the edge.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.basis import Decomposition, LayerFeatures
from micrographia.errors import CallError
from micrographia.graph.nodes import Kind, NodeId
from micrographia.graph.targets import TargetRow
from micrographia.ids import Layer

__all__ = ["Carriers", "carriers"]

_EMBEDDING = -1
"""Where a token writes: in front of the first block."""


@dataclass(frozen=True, slots=True, eq=False)
class Carriers:
    """One edge, taken apart."""

    edge: float
    """What the source adds to the target, by all paths."""
    direct: float
    """By those that pass no head: the residual stream, and skip paths of the basis."""
    last: Float[Tensor, "layer head"]
    first: Float[Tensor, "layer head"]
    only: Float[Tensor, "layer head"]
    through: Float[Tensor, "layer head"]

    @property
    def several(self) -> float:
        """By paths that pass more than one head."""
        return self.edge - self.direct - float(self.only.sum())


@torch.no_grad()
def carriers(found: Decomposition, source: NodeId, target: TargetRow) -> Carriers:
    """Split the edge from a feature, an error or a token to a target; a feature is a target as `OfFeature`."""
    written = _written(found, source)
    readings, bare = _Readings(found, target, attends=True), _Readings(found, target, attends=False)
    full, alone = _State(found, written), _State(found, written)
    a = found.frozen.anatomy
    last, first, only, through = (torch.zeros(a.n_layers, a.n_heads, dtype=torch.float64) for _ in range(4))
    for layer in range(a.n_layers):
        carried, taken = (found.frozen.attend(layer, state.entering) for state in (full, alone))
        last[layer] = _paired(carried, bare.of_heads[layer])
        through[layer] = _paired(carried, readings.of_heads[layer])
        first[layer] = _paired(taken, readings.of_heads[layer])
        only[layer] = _paired(taken, bare.of_heads[layer])
        full.cross(layer, carried)
        alone.cross(layer, None)
    return Carriers(full.read(target), alone.read(target), last, first, only, through)


def _paired(heads: Float[Tensor, "head pos d_model"], reading: Float[Tensor, "pos d_model"]) -> Tensor:
    return torch.einsum("hpd,pd->h", heads.double(), reading.double()).cpu()


# ---------------------------------------------------------------- upwards


class _State:
    """What a source has come to in the residual stream, on its way up."""

    def __init__(self, found: Decomposition, written: Mapping[int, Tensor]) -> None:
        self._found, self._written = found, written
        nothing = torch.zeros_like(found.frozen.embed)
        self.entering = nothing + written.get(_EMBEDDING, nothing)
        """The residual that enters the next block."""
        self._stages: list[tuple[Tensor, Tensor]] = []

    def cross(self, layer: int, heads: Float[Tensor, "head pos d_model"] | None) -> None:
        """One block, with what its heads make of it, or past them."""
        x = self.entering
        middle = x if heads is None else x + heads.sum(0)
        read = x if self._found.frozen.anatomy.parallel else middle
        self._stages.append((x, read))
        self.entering = middle + _skipped(self._found, layer, read) + self._written.get(layer, torch.zeros_like(x))

    def read(self, target: TargetRow) -> float:
        """What the target reads of it, when all blocks are crossed."""
        total = 0.0
        for one in target.injections:
            stage = self.entering if one.layer == len(self._stages) else self._stages[one.layer][one.reads == "mlp"]
            total += float(stage[one.position].double() @ one.vector.double())
        return total


def _written(found: Decomposition, source: NodeId) -> Mapping[int, Float[Tensor, "pos d_model"]]:
    """What a source writes behind each block, or in front of all of them."""
    empty = torch.zeros_like(found.frozen.embed)
    match source:
        case NodeId(Kind.TOKEN, position=int(position)) if position < len(empty):
            return {_EMBEDDING: _at(empty, position, found.frozen.embed[position])}
        case NodeId(Kind.ERROR, int(layer), int(position)) if layer < len(found.layers) and position < len(empty):
            error = found.layers[layer].error
            return {} if error is None else {layer: _at(empty, position, error[position])}
        case NodeId(Kind.FEATURE, int(layer), int(position), int(index)) if layer < len(found.layers):
            here = found.layers[layer]
            mine = ((here.position == position) & (here.feature == index)).nonzero()[:, 0]
            if len(mine) != 1:
                raise CallError(f"{source} is not active on this prompt, so no edge leads from it.")
            return {int(to): _at(empty, position, _write(here, to, mine)) for to in here.writes}
        case _:
            raise CallError(
                f"An edge from {source} cannot be split over heads: only features, errors and tokens of this prompt "
                "write at one position."
            )


def _write(here: LayerFeatures, to: Layer, mine: Tensor) -> Float[Tensor, " d_model"]:
    """What one active feature adds to the output of a layer's MLP."""
    term, position = here.writes[to], here.position[mine]
    row = here.activation[mine, None] * term.rows[here.feature[mine]]
    return (row if term.scale is None else row / term.scale[position])[0]


def _at(empty: Float[Tensor, "pos d_model"], position: int, vector: Float[Tensor, " d_model"]) -> Tensor:
    full = empty.clone()
    full[position] = vector
    return full


def _attended(found: Decomposition, layer: int, x: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_model"]:
    return found.frozen.attend(layer, x).sum(0)


def _skipped(found: Decomposition, layer: int, x: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_model"]:
    """What the skip path of a basis writes for a residual x: linear, biases left out."""
    skip = found.layers[layer].skip
    return torch.zeros_like(x) if skip is None else found.frozen.mlp_read(layer, x) @ skip.T


# ---------------------------------------------------------------- downwards


class _Readings:
    """What a target reads of what the heads of each layer write; by all paths, or by those without further heads."""

    def __init__(self, found: Decomposition, target: TargetRow, *, attends: bool) -> None:
        self._found, self._target = found, target
        frozen = found.frozen
        self.of_heads: dict[int, Float[Tensor, "pos d_model"]] = {}
        reading = self._begun(frozen.anatomy.n_layers, "stream")
        for layer in reversed(range(frozen.anatomy.n_layers)):
            own = _transposed(partial(_skipped, found, layer), reading) + self._begun(layer, "mlp")
            self.of_heads[layer] = reading if frozen.anatomy.parallel else reading + own
            through = torch.zeros_like(reading)
            if attends:
                through = _transposed(partial(_attended, found, layer), self.of_heads[layer])
            reading = reading + own + through + self._begun(layer, "stream")

    def _begun(self, layer: int, reads: str) -> Float[Tensor, "pos d_model"]:
        """The readings that begin here."""
        found = torch.zeros_like(self._found.frozen.embed)
        for one in self._target.injections:
            if (one.layer, one.reads) == (layer, reads):
                found[one.position] += one.vector
        return found


def _transposed(linear: Callable[[Tensor], Tensor], reading: Float[Tensor, "pos d_model"]) -> Tensor:
    """A reading of what a linear map gives, as a reading of what it is given."""
    _, pull = cast(
        "tuple[object, Callable[[Tensor], tuple[Tensor]]]", torch.func.vjp(linear, torch.zeros_like(reading))
    )
    return pull(reading)[0]
