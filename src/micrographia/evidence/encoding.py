"""What the features of a layer are on any input of its MLP: the activations, of all of them."""

from collections.abc import Callable
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from micrographia.bases.basis import Basis
from micrographia.bases.neurons import Neurons
from micrographia.bases.transcoder import CrossLayer, PerLayer
from micrographia.errors import UnsupportedError
from micrographia.ids import Layer
from micrographia.model.forward import activate
from micrographia.model.model import Model

__all__ = ["Encode", "encoder_of"]

Encode: TypeAlias = Callable[[Tensor], Tensor]
"""From the normalised input of an MLP, [row d_model], to the activation of every feature, [row feature]."""


def encoder_of(model: Model, basis: Basis, layer: int) -> Encode | None:
    """The features of a layer as a function of what its MLP reads; None where the basis leaves the layer out."""
    match basis:
        case Neurons():
            return _neurons(model, layer)
        case PerLayer(layers):
            return layers[Layer(layer)].encoder if layer in layers else None
        case CrossLayer(encoders):
            return encoders[Layer(layer)] if layer in encoders else None
        case _:
            raise UnsupportedError(
                f"Features of a {type(basis).__name__} cannot be read anew on a changed run: only those of neurons, "
                "per-layer and cross-layer transcoders can."
            )


def _neurons(model: Model, layer: int) -> Encode:
    mlp, kind = model.weights.blocks[layer].mlp, model.anatomy.activation

    def encode(x: Float[Tensor, "row d_model"], /) -> Float[Tensor, "row feature"]:
        if mlp.gate is None:
            return activate(kind, mlp.up(x))
        return activate(kind, mlp.gate(x)) * mlp.up(x)

    return encode
