"""What can stand in for MLPs, behind one Protocol: dictionaries, and the MLPs' own neurons."""

from dataclasses import dataclass
from functools import partial
from typing import Protocol, final, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from micrographia.bases.transcoder import CrossLayer, PerLayer
from micrographia.ids import Layer
from micrographia.model.forward import activate
from micrographia.model.model import Model
from micrographia.model.weights import Linear, MlpWeights

__all__ = [
    "CrossLayerStandIn",
    "Mlp",
    "MlpView",
    "NeuronStandIn",
    "PerLayerStandIn",
    "StandIn",
    "Turn",
    "Written",
    "wide",
]

_SPARSE = 16
"""Fewer than one activation in so many is decoded row by row."""


@dataclass(frozen=True, slots=True, eq=False)
class MlpView:
    """What one layer's MLP reads at some positions; its neurons too, where the run has computed them anyway."""

    layer: Layer
    x: Float[Tensor, "row d_model"]
    post: Float[Tensor, "row neuron"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What stands in the place of an MLP's output, behind any post-norm, and the activations that wrote it."""

    output: Float[Tensor, "row d_model"]
    acts: Float[Tensor, "row feature"] | None = None


@runtime_checkable
class Turn(Protocol):
    """One run of a stand-in: shown the MLPs from the lowest layer upwards, at the same positions in each, it gives what
    it writes there, or None where it leaves the MLP alone."""

    def __call__(self, view: MlpView, /) -> Written | None: ...


@runtime_checkable
class StandIn(Protocol):
    """Something to put in the place of the MLPs of `layers`.

    `begin` starts a run, and nothing is kept between runs. `slope` is how the output at a layer of `layers` moves when
    that layer's input moves along `v` and no other's does.
    """

    @property
    def layers(self) -> tuple[Layer, ...]: ...
    def begin(self) -> Turn: ...
    def slope(self, view: MlpView, v: Float[Tensor, "row d_model"], /) -> Float[Tensor, "row d_model"]: ...


@final
class PerLayerStandIn:
    """A transcoder for each of some layers."""

    __slots__ = ("_held", "layers")

    def __init__(self, basis: PerLayer) -> None:
        self._held = {layer: basis.layers[layer] for layer in sorted(basis.layers)}
        self.layers = tuple(self._held)

    def begin(self) -> Turn:
        return self._write

    def slope(self, view: MlpView, v: Float[Tensor, "row d_model"], /) -> Float[Tensor, "row d_model"]:
        mine = self._held[view.layer]
        moved = ((mine.encoder(view.x) != 0) * (v @ mine.encoder.weight.T)) @ mine.decoder
        return moved if mine.skip is None else moved + v @ mine.skip.T

    def _write(self, view: MlpView, /) -> Written | None:
        mine = self._held.get(view.layer)
        if mine is None:
            return None
        acts = mine.encoder(view.x)
        output = mine.bias + _decoded(acts, mine.decoder)
        return Written(output if mine.skip is None else output + view.x @ mine.skip.T, acts)


@final
class CrossLayerStandIn:
    """A cross-layer transcoder: what it writes at a layer comes from the features of this one and all below it."""

    __slots__ = ("_biases", "_decoders", "_encoders", "_skips", "layers")

    def __init__(self, basis: CrossLayer, n_layers: int) -> None:
        self._encoders, self._decoders = dict(basis.encoders), dict(basis.decoders)
        self._biases, self._skips = dict(basis.biases), dict(basis.skips)
        reached = {Layer(layer + i) for layer, its in self._decoders.items() for i in range(len(its))}
        self.layers = tuple(sorted(layer for layer in reached | set(self._biases) if layer < n_layers))

    def begin(self) -> Turn:
        return partial(self._write, {})

    def slope(self, view: MlpView, v: Float[Tensor, "row d_model"], /) -> Float[Tensor, "row d_model"]:
        encoder = self._encoders.get(view.layer)
        if encoder is None:
            return torch.zeros_like(v)
        moved = ((encoder(view.x) != 0) * (v @ encoder.weight.T)) @ self._decoders[view.layer][0]
        return moved + v @ self._skips[view.layer].T if view.layer in self._skips else moved

    def _write(self, pending: dict[int, Tensor], view: MlpView, /) -> Written | None:
        layer, acts = view.layer, None
        if layer in self._encoders:
            acts = self._encoders[layer](view.x)
            for to, decoder in enumerate(self._decoders[layer], layer):
                written = _decoded(acts, decoder)
                pending[to] = pending[to] + written if to in pending else written
        if layer not in self.layers:
            return None
        output = pending.pop(layer, torch.zeros_like(view.x))
        if layer in self._biases:
            output = output + self._biases[layer]
        return Written(output + view.x @ self._skips[layer].T if layer in self._skips else output, acts)


@final
class NeuronStandIn:
    """The MLPs' own neurons: all of them, or at each position the `keep` that write most, |activation| · ‖write‖."""

    __slots__ = ("_keep", "_model", "layers")

    def __init__(self, model: Model, keep: dict[Layer, int] | None = None) -> None:
        self._model, self._keep = model, keep
        self.layers = tuple(map(Layer, range(model.anatomy.n_layers))) if keep is None else tuple(sorted(keep))

    def begin(self) -> Turn:
        return self._write

    def slope(self, view: MlpView, v: Float[Tensor, "row d_model"], /) -> Float[Tensor, "row d_model"]:
        mlp = Mlp(self._model, view.layer)
        kept = self._kept(mlp, mlp.neurons(view.x))
        return mlp.slope(view.x, v, kept)

    def _write(self, view: MlpView, /) -> Written | None:
        if view.layer not in self.layers:
            return None
        mlp = Mlp(self._model, view.layer)
        post = mlp.neurons(view.x) if view.post is None else view.post
        kept = self._kept(mlp, post)
        return Written(mlp.written(post, kept), post if kept is None else post * kept)

    def _kept(self, mlp: "Mlp", post: Float[Tensor, "row neuron"]) -> Bool[Tensor, "row neuron"] | None:
        if self._keep is None or (k := self._keep[mlp.layer]) >= post.shape[1]:
            return None
        best = (post.abs() * mlp.write_norms()).topk(k, dim=-1, sorted=False).indices
        return torch.zeros_like(post, dtype=torch.bool).scatter_(-1, best, True)


@final
class Mlp:
    """One layer's MLP as a function of its normalised input, at least in float32."""

    __slots__ = ("_activation", "_norm", "_weights", "layer")

    def __init__(self, model: Model, layer: Layer) -> None:
        block, dtype = model.weights.blocks[layer], wide(model)
        self.layer, self._activation, self._norm = layer, model.anatomy.activation, block.mlp_post_norm
        gate = None if block.mlp.gate is None else _cast(block.mlp.gate, dtype)
        self._weights = MlpWeights(gate, _cast(block.mlp.up, dtype), _cast(block.mlp.down, dtype))

    def __call__(self, x: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        return self.written(self.neurons(x), None)

    def neurons(self, x: Float[Tensor, "row d_model"]) -> Float[Tensor, "row neuron"]:
        w, kind = self._weights, self._activation
        return activate(kind, w.up(x)) if w.gate is None else activate(kind, w.gate(x)) * w.up(x)

    def written(
        self, post: Float[Tensor, "row neuron"], kept: Bool[Tensor, "row neuron"] | None
    ) -> Float[Tensor, "row d_model"]:
        """What some neurons write, or all; a post-norm divides by what it would divide all of them by."""
        down, norm = self._weights.down, self._norm
        part = down(post if kept is None else post * kept)
        if norm is None:
            return part
        whole = part if kept is None else down(post)
        if norm.centred:
            whole, part = (x - x.mean(-1, keepdim=True) for x in (whole, part))
        scaled = part / (whole.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.gain
        return scaled if norm.bias is None else scaled + norm.bias

    def slope(
        self, x: Float[Tensor, "row d_model"], v: Float[Tensor, "row d_model"], kept: Tensor | None = None
    ) -> Float[Tensor, "row d_model"]:
        """How the output moves when the input moves along v, the same neurons being kept.

        Jv is the derivative by u of (Jᵀu)·v, which is linear in u: two ordinary backward passes.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = self.written(self.neurons(x), kept)
            u = torch.zeros_like(y, requires_grad=True)
            (back,) = torch.autograd.grad(y, x, u, create_graph=True)
            (moved,) = torch.autograd.grad(back, u, v)
        return moved

    def write_norms(self) -> Float[Tensor, " neuron"]:
        """How long a vector each neuron writes per unit of its activation, up to a factor that all share."""
        rows = self._weights.down.weight.T
        norm = self._norm
        if norm is not None:
            rows = (rows - rows.mean(-1, keepdim=True) if norm.centred else rows) * norm.gain
        return rows.square().sum(-1).sqrt()


def wide(model: Model) -> torch.dtype:
    """The dtype of stand-ins and figures: the model's own, and at least float32."""
    return torch.promote_types(model.dtype, torch.float32)


def _cast(linear: Linear, dtype: torch.dtype) -> Linear:
    return Linear(linear.weight.to(dtype), None if linear.bias is None else linear.bias.to(dtype))


def _decoded(acts: Float[Tensor, "row feature"], decoder: Float[Tensor, "feature d_model"]) -> Tensor:
    """acts @ decoder, row by row where few activations are not zero."""
    rows, features = acts.nonzero(as_tuple=True)
    if len(rows) * _SPARSE > acts.numel():
        return acts @ decoder
    starts = torch.searchsorted(rows, torch.arange(len(acts), device=acts.device))
    weights = acts[rows, features]
    return F.embedding_bag(features, decoder, starts, mode="sum", per_sample_weights=weights)
