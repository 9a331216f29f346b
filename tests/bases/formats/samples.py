"""Random bases to write and read."""

import torch

from micrographia.bases.activation import ActivationRule, BatchTopK, JumpRelu, Relu, TopK
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.parts import BasisFile
from micrographia.bases.transcoder import CrossLayer, Encoder, PerLayer, TranscoderLayer
from micrographia.ids import Layer

__all__ = ["RULES", "D", "F", "cross_layer", "per_layer", "rule"]

D, F = 6, 10
RULES = ("relu", "jumprelu", "topk", "batchtopk")


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rule(kind: str, n: int = F, seed: int = 0) -> ActivationRule:
    match kind:
        case "jumprelu":
            return JumpRelu(_random(n, seed=seed).abs())
        case "topk":
            return TopK(3)
        case "batchtopk":
            return BatchTopK(3, 0.5)
        case _:
            return Relu()


def _encoder(kind: str, n: int, d: int, seed: int) -> Encoder:
    return Encoder(_random(n, d, seed=seed), _random(n, seed=seed + 1), rule(kind, n, seed + 2))


def per_layer(
    kind: str = "relu",
    *,
    skip: bool = False,
    layers: tuple[int, ...] = (0, 1, 2),
    n: int = F,
    d: int = D,
    **facts: object,
) -> BasisFile:
    basis = PerLayer(
        {
            Layer(i): TranscoderLayer(
                _encoder(kind, n, d, 10 * i),
                _random(n, d, seed=10 * i + 3),
                _random(d, seed=10 * i + 4),
                _random(d, d, seed=10 * i + 5) if skip else None,
            )
            for i in layers
        }
    )
    return BasisFile.of(basis, BasisFacts.model_validate(facts))


def cross_layer(
    kind: str = "relu", *, skip: bool = False, layers: int = 3, n: int = F, d: int = D, **facts: object
) -> BasisFile:
    every = [Layer(i) for i in range(layers)]
    basis = CrossLayer(
        {i: _encoder(kind, n, d, 10 * i) for i in every},
        {i: _random(layers - i, n, d, seed=10 * i + 3) for i in every},
        {i: _random(d, seed=10 * i + 4) for i in every},
        {i: _random(d, d, seed=10 * i + 5) for i in every} if skip else {},
    )
    return BasisFile.of(basis, BasisFacts.model_validate(facts))
