"""Random bases in float64, and passages that need no corpus."""

import torch

from micrographia.bases.activation import ActivationRule, BatchTopK, JumpRelu, Relu, TopK
from micrographia.bases.evaluation.passages import Passage, PassageBatch, Passages
from micrographia.bases.transcoder import CrossLayer, Encoder, PerLayer, TranscoderLayer
from micrographia.ids import Layer, TokenId
from micrographia.model.model import Model

__all__ = ["FEATURES", "RULES", "cross_layer", "normal", "only_batch", "per_layer", "some_passages"]

FEATURES = 40


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5


RULES: dict[str, ActivationRule] = {
    "relu": Relu(),
    "jumprelu": JumpRelu(torch.full((FEATURES,), 0.3, dtype=torch.float64)),
    "topk": TopK(6),
    "batchtopk": BatchTopK(6, 0.4),
}


def _encoder(d: int, rule: str, seed: int) -> Encoder:
    return Encoder(normal(FEATURES, d, seed=seed), normal(FEATURES, seed=seed + 1), RULES[rule])


def per_layer(
    model: Model, rule: str = "topk", *, skip: bool = False, layers: tuple[int, ...] = (0, 1, 2), seed: int = 0
) -> PerLayer:
    d = model.anatomy.d_model
    return PerLayer(
        {
            Layer(i): TranscoderLayer(
                _encoder(d, rule, seed + 10 * i),
                normal(FEATURES, d, seed=seed + 10 * i + 2),
                normal(d, seed=seed + i + 3),
                normal(d, d, seed=seed + i + 4) if skip else None,
            )
            for i in layers
        }
    )


def cross_layer(model: Model, rule: str = "topk", *, skip: bool = False, seed: int = 0) -> CrossLayer:
    """Without an encoder at layer 1, which is written to from below."""
    n, d = model.anatomy.n_layers, model.anatomy.d_model
    layers = [Layer(i) for i in range(n) if i != 1]
    return CrossLayer(
        {i: _encoder(d, rule, seed + 10 * i) for i in layers},
        {i: normal(n - i, FEATURES, d, seed=seed + i + 5) for i in layers},
        {Layer(i): normal(d, seed=seed + i + 7) for i in range(n)},
        {i: normal(d, d, seed=seed + i + 9) for i in layers} if skip else {},
    )


def some_passages(*lengths: int, seed: int = 0, documents: int | None = None) -> Passages:
    """Random tokens; passage i belongs to document i, or to one of so many."""
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randint(2, 80, (length,), generator=generator).tolist() for length in lengths]
    n = documents or len(lengths)
    passages = tuple(Passage(tuple(TokenId(i) for i in ids), number % n) for number, ids in enumerate(found))
    return Passages(passages, n)


def only_batch(passages: Passages) -> PassageBatch:
    """All passages at once."""
    (batch,) = passages.batches(1_000_000, torch.device("cpu"))
    return batch
