"""What tells bases apart, whatever the precision in which they are held: a hash of samples of their matrices."""

from typing import TypeAlias

from torch import Tensor

from micrographia.bases.activation import JumpRelu
from micrographia.bases.basis import Basis
from micrographia.bases.neurons import Neurons
from micrographia.bases.transcoder import CrossLayer, Encoder, PerLayer
from micrographia.errors import UnsupportedError
from micrographia.model.fingerprint import fingerprint
from micrographia.model.weights import Weights, tensors_of

__all__ = ["FeatureBasis", "basis_fingerprint", "feature_basis"]

FeatureBasis: TypeAlias = Neurons | PerLayer | CrossLayer
"""A basis whose features can be watched.

Others keep the promise of `Basis`, but do not say how an activation comes about."""


def feature_basis(basis: Basis) -> FeatureBasis:
    """A basis that an atlas can be made of."""
    if not isinstance(basis, FeatureBasis):
        raise UnsupportedError(f"An atlas is made of neurons or transcoders; this basis is a {type(basis).__name__}.")
    return basis


def basis_fingerprint(basis: FeatureBasis, weights: Weights) -> str:
    """Of every encoder and decoder; of the MLPs where features are neurons, by whichever rule they are read."""
    match basis:
        case Neurons():
            return fingerprint("neurons", (part for block in weights.blocks for part in tensors_of(block.mlp)))
        case PerLayer(layers):
            parts = [(*_encoder(layers[i].encoder), layers[i].decoder) for i in sorted(layers)]
            return fingerprint(f"per-layer {sorted(layers)}", (part for layer in parts for part in layer))
        case CrossLayer(encoders, decoders):
            parts = [(*_encoder(encoders[i]), decoders[i]) for i in sorted(encoders)]
            return fingerprint(f"cross-layer {sorted(encoders)}", (part for layer in parts for part in layer))


def _encoder(encoder: Encoder) -> tuple[Tensor, ...]:
    rule = encoder.rule
    return (encoder.weight, encoder.bias, *((rule.threshold,) if isinstance(rule, JumpRelu) else ()))
