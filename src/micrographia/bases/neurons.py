"""The neurons themselves as a basis: exact, and in need of no training.

A gated neuron's activation is g(z)·u with z = w_gate·x and u = w_up·x. To read it linearly, its nonlinear factors are
held at their values: `frozen-gate` holds g(z) and reads through w_up; `half` (as in layer-wise relevance propagation
and RelP) gives each of the two paths half, holding u·g(z)/z for the gate. Both give back the activation exactly. A
plain neuron reads through w_in with its slope g(z)/z held.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.basis import Decomposition, LayerFeatures, ReadTerm, WriteTerm
from micrographia.ids import Layer
from micrographia.model.forward import activate
from micrographia.model.frozen import Frozen
from micrographia.model.weights import Linear

__all__ = ["GateRule", "Neurons"]

GateRule: TypeAlias = Literal["half", "frozen-gate"]


@final
@dataclass(frozen=True, slots=True)
class Neurons:
    """Every hidden unit of every MLP; each position has all of them."""

    gate_rule: GateRule = "half"

    def decompose(self, frozen: Frozen, /) -> Decomposition:
        layers = range(frozen.anatomy.n_layers)
        return Decomposition(frozen, tuple(self._layer(frozen, Layer(layer)) for layer in layers))

    def _layer(self, frozen: Frozen, layer: Layer) -> LayerFeatures:
        mlp, x = frozen.weights.blocks[layer].mlp, frozen.mlp_in(layer)
        up = mlp.up(x)
        n_positions, n_neurons = up.shape
        terms = _plain(frozen, mlp.up, up) if mlp.gate is None else self._gated(frozen, mlp.gate, mlp.up, x, up)
        scale = frozen.layers[layer].mlp_post_norm_scale
        return LayerFeatures(
            layer=layer,
            position=torch.arange(n_positions, device=x.device).repeat_interleave(n_neurons),
            feature=torch.arange(n_neurons, device=x.device).repeat(n_positions),
            activation=(frozen.layers[layer].slope * up).flatten(),
            reads=tuple(ReadTerm(path.weight, gain.flatten()) for path, gain in terms),
            read_bias=torch.stack([_constant(path, gain) for path, gain in terms]).sum(0).flatten(),
            writes={layer: WriteTerm(frozen.behind_mlp(layer, mlp.down.weight.T), scale)},
            skip=None,
            constant=frozen.mlp_constant(layer),
            error=None,
        )

    def _gated(
        self, frozen: Frozen, gate: Linear, up_map: Linear, x: Float[Tensor, "pos d_model"], up: Float[Tensor, "pos n"]
    ) -> list[tuple[Linear, Float[Tensor, "pos n"]]]:
        z = gate(x)
        opened = activate(frozen.anatomy.activation, z)
        if self.gate_rule == "frozen-gate":
            return [(up_map, opened)]
        slope = torch.where(z == 0, torch.zeros_like(z), opened / z)
        return [(up_map, opened / 2), (gate, up * slope / 2)]


def _plain(frozen: Frozen, up_map: Linear, up: Float[Tensor, "pos n"]) -> list[tuple[Linear, Float[Tensor, "pos n"]]]:
    slope = torch.where(up == 0, torch.zeros_like(up), activate(frozen.anatomy.activation, up) / up)
    return [(up_map, slope)]


def _constant(path: Linear, gain: Float[Tensor, "pos n"]) -> Float[Tensor, "pos n"]:
    """What a path's own bias adds to the activation."""
    return torch.zeros_like(gain) if path.bias is None else gain * path.bias
