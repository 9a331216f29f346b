"""At once: what each active feature, error and token does to an answer in all, through every path, signed.

One reading is carried from the targets down to the tokens, as a row is, but through the features too: where it meets a
layer's features, each adds what it reads, times what a unit of it is worth. That is the total effect to first order,
with attention, norms and the set of active features held:

    effect[f] = a_f · ∂value/∂a_f            value = Σ effect[tokens] + Σ effect[errors] + bias

Features hand on what they get, so their effects are not parts of the value; those of tokens, errors and the bias are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from micrographia.bases.basis import Decomposition, LayerFeatures
from micrographia.bases.named import BasisChoice, choose_basis
from micrographia.graph.adjoint import Adjoint, Block, adjoint_of, behind_norm, constant_of
from micrographia.graph.carried import carried
from micrographia.graph.nodes import Kind, NodeId
from micrographia.graph.promoted import promoted
from micrographia.graph.tables import NodeTable
from micrographia.graph.targets import Target, TargetRow, resolve
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from micrographia.model.tokens import Prompt

__all__ = ["Overview", "Strong", "overview", "overview_of"]


@dataclass(frozen=True, slots=True)
class Strong:
    """A feature, how active it is, its effect, and the tokens that it promotes."""

    node: NodeId
    activation: float
    effect: float
    promotes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Overview:
    """Total effects on the weighted sum of some targets."""

    prompt: Prompt
    targets: tuple[TargetRow, ...]
    value: float
    layer: Int64[np.ndarray, " feature"]
    position: Int64[np.ndarray, " feature"]
    index: Int64[np.ndarray, " feature"]
    activation: Float64[np.ndarray, " feature"]
    effect: Float64[np.ndarray, " feature"]
    errors: Float64[np.ndarray, "layer pos"]
    tokens: Float64[np.ndarray, " pos"]
    bias: float
    strongest: tuple[Strong, ...] = ()
    """The features with the largest effects, either sign; those at the first position, where what is held is the same
    in front of every prompt, only if there is no other."""

    def __repr__(self) -> str:
        return f"<Overview of {' '.join(t.name for t in self.targets)}: {len(self.effect)} active features>"


def overview(
    model: Model, basis: BasisChoice, prompt: str | Prompt, *, target: Target = None, top: int = 20
) -> Overview:
    """The total effect of everything that is active on a target, in the time of one row; the `top` strongest features
    with what they promote."""
    chosen = choose_basis(model, basis)
    with torch.no_grad():
        found = chosen.basis.decompose(freeze(model, model.prompt(prompt)))
        whole = overview_of(found, resolve(target, found, model.tokenizer))
    return replace(whole, strongest=_strongest(whole, found, model.tokenizer.piece, top))


@torch.no_grad()
def overview_of(found: Decomposition, targets: tuple[TargetRow, ...]) -> Overview:
    """The same for a run that has been taken apart, and targets on it."""
    adjoint = adjoint_of(found, found.frozen.embed.dtype)
    passing = _Passing(adjoint, targets)
    for layer in reversed(range(adjoint.n_layers)):
        passing.cross(layer)
    layers = found.layers
    effects = [one.activation * worth for one, worth in zip(layers, passing.worth, strict=True)]
    numbers = [torch.full_like(one.position, one.layer) for one in layers]
    return Overview(
        prompt=found.frozen.prompt,
        targets=targets,
        value=sum(target.weight * target.value for target in targets),
        layer=_joined(numbers),
        position=_joined([one.position for one in layers]),
        index=_joined([one.feature for one in layers]),
        activation=_joined([one.activation.double() for one in layers]),
        effect=_joined([effect.double() for effect in effects]),
        errors=passing.errors.cpu().numpy(),
        tokens=(passing.state[:, 0] * adjoint.embed).sum(1).double().cpu().numpy(),
        bias=passing.bias,
    )


def _strongest(whole: Overview, found: Decomposition, piece: Callable[[int], str], top: int) -> tuple[Strong, ...]:
    size = np.where((whole.position > 0) | (len(whole.tokens) == 1), np.abs(whole.effect), -1)
    best = np.argsort(-size, kind="stable")[:top]
    chosen = np.sort(best[size[best] >= 0])
    nothing = np.zeros(len(chosen))
    columns = (whole.layer[chosen], whole.position[chosen], whole.index[chosen], whole.activation[chosen])
    nodes = NodeTable(nothing.astype(np.uint8), *columns, nothing, nothing, nothing, nothing, nothing)
    says = promoted(found, nodes, carried(found, nodes), piece)
    unsorted = [
        Strong(
            NodeId(Kind.FEATURE, int(nodes.layer[i]), int(nodes.position[i]), int(nodes.index[i])),
            float(nodes.activation[i]),
            float(whole.effect[feature]),
            tuple(says.pieces[int(token)] for token in says.tokens[i]),
        )
        for i, feature in enumerate(chosen)
    ]
    return tuple(sorted(unsorted, key=lambda one: -abs(one.effect)))


class _Passing:
    """One reading on its way down, and what was found out on the way."""

    def __init__(self, adjoint: Adjoint, targets: tuple[TargetRow, ...]) -> None:
        n_positions, d_model = adjoint.embed.shape
        found = adjoint.decomposition
        self.state: Float[Tensor, "pos one d_model"] = adjoint.embed.new_zeros(n_positions, 1, d_model)
        self.worth = [torch.zeros_like(one.activation) for one in found.layers]
        """∂value/∂a of each active feature, complete when its layer has been crossed."""
        self.errors = adjoint.embed.new_zeros(adjoint.n_layers, n_positions, dtype=torch.float64)
        self.bias = sum(target.weight * target.bias for target in targets)
        self._adjoint, self._found, self._targets = adjoint, found, targets
        self._inject(2 * adjoint.n_layers)

    def cross(self, layer: int) -> None:
        """From the residual behind a layer to the one in front of it; the order is that of a row's sweep."""
        block, here = self._adjoint.blocks[layer], self._found.layers[layer]
        self._read_writers(here)
        read = self._through_features(layer, here)
        skipped = block.skipped(self.state, torch.empty_like(self.state).flatten())
        if self._adjoint.parallel:
            self._attend(block)
        self.state += read[:, None]
        if skipped is not None:
            self.state += skipped
        self._inject(2 * layer + 1)
        if not self._adjoint.parallel:
            self._attend(block)
        self._inject(2 * layer)

    def _read_writers(self, here: LayerFeatures) -> None:
        """What everything that writes to this layer's output is worth there."""
        now = self.state[:, 0]
        self.bias += float((now * constant_of(self._found.frozen, here)).sum())
        if here.error is not None:
            self.errors[here.layer] = (now * here.error).sum(1).double()
        for source in self._found.layers[: here.layer + 1]:
            term = source.writes.get(here.layer)
            if term is not None:
                read = now @ term.rows.T if term.scale is None else now / term.scale @ term.rows.T
                self.worth[source.layer] += read[source.position, source.feature]

    def _through_features(self, layer: int, here: LayerFeatures) -> Float[Tensor, "pos d_model"]:
        """What the features of this layer read of the residual, each by what it is worth."""
        worth = self.worth[layer]
        self.bias += float(worth @ here.read_bias)
        read = torch.zeros_like(self.state[:, 0])
        for term in here.reads:
            by_feature = read.new_zeros(len(read), len(term.rows))
            by_feature[here.position, here.feature] = worth if term.gain is None else worth * term.gain
            read += by_feature @ term.rows
        norm = self._found.frozen.weights.blocks[layer].mlp_norm
        if norm is not None and norm.bias is not None:
            self.bias += float((read @ norm.bias).sum())
        return behind_norm(self._found.frozen, layer, read, torch.arange(len(read), device=read.device))

    def _attend(self, block: Block) -> None:
        if block.attn_bias is not None:
            self.bias += float((self.state[:, 0] * block.attn_bias).sum())
        block.carry(self.state, block.attend(self.state, lambda _, size: self.state.new_empty(size)))

    def _inject(self, stage: int) -> None:
        for target in self._targets:
            for one in target.injections:
                if 2 * one.layer + (one.reads == "mlp") == stage:
                    self.state[one.position, 0] += target.weight * one.vector


def _joined(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).cpu().numpy()
