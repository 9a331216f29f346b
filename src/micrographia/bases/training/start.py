"""Where training begins: weights taken from one block of activations instead of from chance alone.

The skip path is the ridge regression of outputs on inputs. Encoder rows are inputs that occur, and directions that the
MLP itself reads by; decoder rows are what the output residual does, on average, where their feature is active.
"""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.bases.training.config import TrainConfig
from micrographia.bases.training.step import Parameters, selected
from micrographia.model.weights import MlpWeights

__all__ = ["Statistics", "begin", "replant"]

_RIDGE = 1e-2
_ENOUGH = 16_384
"""Rows from which everything is estimated."""


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What one block says of a layer."""

    mean_in: Float[Tensor, " d_model"]
    mean_out: Float[Tensor, " d_model"]
    variance: float
    """Mean squared distance of the output from its mean: what the loss is measured against."""

    @staticmethod
    def of(x: Float[Tensor, "row d_model"], y: Float[Tensor, "row d_model"]) -> "Statistics":
        mean_out = y.mean(0)
        return Statistics(x.mean(0), mean_out, float((y - mean_out).square().sum(1).mean()))


def begin(
    config: TrainConfig, mlp: MlpWeights, x: Float[Tensor, "row d_model"], y: Float[Tensor, "row d_model"], seed: int
) -> tuple[Parameters, Statistics]:
    """Weights from which a layer is trained."""
    x, y = x[:_ENOUGH], y[:_ENOUGH]
    known = Statistics.of(x, y)
    centred, residual = x - known.mean_in, y - known.mean_out
    skip: Tensor | None = None
    if config.skip:
        gram = centred.T @ centred
        ridge = _RIDGE * float(gram.diagonal().mean())
        regular = gram + ridge * torch.eye(len(gram), device=x.device, dtype=x.dtype)
        skip = cast("Tensor", torch.linalg.solve(regular, centred.T @ residual)).T.contiguous()
        residual = residual - centred @ skip.T
    encoder = _directions(config.features, mlp, centred, seed)
    encoder_bias = -(encoder @ known.mean_in)
    decoder, strength = _responses(config, torch.addmm(encoder_bias, x, encoder.T), residual)
    bias = known.mean_out if skip is None else known.mean_out - skip @ known.mean_in
    return Parameters(encoder, encoder_bias, decoder * strength, bias.clone(), skip), known


def _directions(
    n_features: int, mlp: MlpWeights, centred: Float[Tensor, "row d_model"], seed: int
) -> Float[Tensor, "feature d_model"]:
    """Half of the rows are inputs that occur, half are rows of the MLP; all of one length."""
    generator = torch.Generator().manual_seed(seed)
    own = mlp.up.weight if mlp.gate is None else torch.cat([mlp.up.weight, mlp.gate.weight])
    n_own = min(n_features // 2, len(own))
    picked = own[torch.randperm(len(own), generator=generator)[:n_own].to(own.device)].to(centred)
    signs = torch.randint(0, 2, (n_own, 1), generator=generator).to(centred) * 2 - 1
    seen = centred[torch.randint(len(centred), (n_features - n_own,), generator=generator).to(centred.device)]
    rows = torch.nn.functional.normalize(torch.cat([picked * signs, seen]), dim=1)
    return rows / float(centred.square().sum(1).mean().sqrt())


def _responses(
    config: TrainConfig, pre: Float[Tensor, "row feature"], residual: Float[Tensor, "row d_model"]
) -> tuple[Float[Tensor, "feature d_model"], float]:
    """Least squares feature by feature, and the one factor that is best for all of them together."""
    codes, _ = selected(pre, config.selection, config.k, None, pre.dtype)
    power = codes.sums(codes.value.square())
    (summed,) = codes.by_feature().gather(codes.value, residual)
    rows = summed / power.clamp(min=1e-8)[:, None]
    out = codes.decode(rows)
    strength = float((out * residual).sum() / out.square().sum().clamp(min=1e-8))
    return rows, strength


def replant(
    parameters: Parameters,
    dead: Int[Tensor, " dead"],
    x: Float[Tensor, "row d_model"],
    error: Float[Tensor, "row d_model"],
    mean_in: Float[Tensor, " d_model"],
) -> None:
    """Give dead features the inputs that are explained worst: they read those, and write what is missing there."""
    n = min(len(dead), len(x))
    worst = error.square().sum(1).topk(n).indices
    centred = x[worst] - mean_in
    length = centred.square().sum(1, keepdim=True).clamp(min=1e-8)
    rows = centred / length.sqrt() * parameters.encoder.square().sum(1).sqrt().mean()
    parameters.encoder[dead[:n]] = rows
    parameters.encoder_bias[dead[:n]] = -(rows @ mean_in)
    active = (rows * centred).sum(1, keepdim=True).clamp(min=1e-8)
    parameters.decoder[dead[:n]] = -0.1 * error[worst] / active
