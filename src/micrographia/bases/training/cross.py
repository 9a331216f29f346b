"""A cross-layer transcoder in training: features that read at one layer and write to it and all later ones.

Nothing is dense but the encoders. Each pair of a source and a target layer has a sparse product of its own, on tables
of one target's width: a wide product that writes to all targets at once reads rows of megabytes from memory, these stay
in the cache.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice, takewhile
from typing import cast, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.training.adam import Adam
from micrographia.bases.training.blocks import Block
from micrographia.bases.training.codes import Codes
from micrographia.bases.training.config import TrainConfig
from micrographia.bases.training.layer import REPLANTED_UNTIL, dead_features, diverged, rule_after
from micrographia.bases.training.start import Statistics, begin
from micrographia.bases.training.step import feature_gradients, loss_of, selected
from micrographia.bases.training.unit import LayerProgress
from micrographia.bases.transcoder import CrossLayer, Encoder
from micrographia.ids import Layer
from micrographia.model.weights import MlpWeights

__all__ = ["CrossGradients", "CrossParameters", "TrainedCrossLayer", "cross_gradients"]


@dataclass(frozen=True, slots=True, eq=False)
class CrossParameters:
    """The master weights, a list entry for each trained layer in order; the step changes them in place."""

    encoders: list[Float[Tensor, "feature d_model"]]
    encoder_biases: list[Float[Tensor, " feature"]]
    decoders: list[list[Float[Tensor, "feature d_model"]]]
    """From source i to the targets i, i + 1, …."""
    biases: list[Float[Tensor, " d_model"]]

    @staticmethod
    def of(tensors: list[Tensor], n: int) -> "CrossParameters":
        """The parameters of `n` layers from their tensors."""
        rest = iter(tensors)
        sources = [list(islice(rest, 2 + n - i)) for i in range(n)]
        encoders, encoder_biases = ([each[place] for each in sources] for place in range(2))
        return CrossParameters(encoders, encoder_biases, [each[2:] for each in sources], list(rest))

    def tensors(self) -> list[Tensor]:
        """Source by source what belongs to its features, then the biases of the targets."""
        sources = zip(self.encoders, self.encoder_biases, self.decoders, strict=True)
        return [tensor for one, two, more in sources for tensor in (one, two, *more)] + self.biases

    def numbers_of(self, source: int) -> range:
        """Which of the tensors have a row for each feature of a source."""
        first = sum(2 + len(each) for each in self.decoders[:source])
        return range(first, first + 2 + len(self.decoders[source]))


@dataclass(frozen=True, slots=True, eq=False)
class CrossGradients:
    """The losses of the target layers, the active features of the source layers, and all gradients."""

    losses: list[float]
    l0: list[float]
    fired: list[Tensor]
    tensors: Iterator[Tensor]
    """For each tensor of the parameters, in their order; the loss is the sum of the losses.

    Each is made when it is asked for: a tensor may change as soon as its gradient is there, and not before."""


def cross_gradients(
    parameters: CrossParameters,
    codes: list[Codes],
    x: list[Float[Tensor, "row d_model"]],
    y: list[Float[Tensor, "row d_model"]],
    variances: list[float],
) -> CrossGradients:
    """The gradients of the summed fractions of variance unexplained, given which entries are active."""
    n, n_rows = len(codes), len(x[0])
    wide = parameters.biases[0].dtype
    error = torch.stack([bias - rows for bias, rows in zip(parameters.biases, y, strict=True)])
    for source in range(n):
        for target, decoder in enumerate(parameters.decoders[source], source):
            error[target] += codes[source].decode(decoder)
    losses = [loss_of(each, variance) for each, variance in zip(error, variances, strict=True)]
    scale = torch.tensor([2.0 / (n_rows * variance) for variance in variances], dtype=wide, device=error.device)
    grad = error.mul_(scale[:, None, None])

    def gradients() -> Iterator[Tensor]:
        for source, code in enumerate(codes):
            towards = list(grad[source:])
            yield from feature_gradients(code, parameters.decoders[source], x[source].to(wide), towards)
        yield from grad.sum(1)

    fired = [code.counts() for code in codes]
    return CrossGradients(losses, [len(code.value) / n_rows for code in codes], fired, gradients())


@final
class TrainedCrossLayer:
    """Weights and moments of a whole cross-layer transcoder."""

    def __init__(
        self, config: TrainConfig, layers: tuple[Layer, ...], parameters: CrossParameters, statistics: list[Statistics]
    ) -> None:
        self.config = config
        self.layers = layers
        self.parameters = parameters
        self.statistics = statistics
        kept = config.kept_as()
        self.shadows = [
            (encoder.to(kept), bias.to(kept))
            for encoder, bias in zip(parameters.encoders, parameters.encoder_biases, strict=True)
        ]
        self.adam = Adam(parameters.tensors())
        device = parameters.biases[0].device
        self.silent = torch.zeros(len(layers), config.features, dtype=torch.int64, device=device)
        self.thresholds: list[float | None] = [None] * len(layers)

    @staticmethod
    def begin(config: TrainConfig, mlps: Mapping[Layer, MlpWeights], block: Block) -> "TrainedCrossLayer":
        """As a per-layer transcoder of every layer: each decoder begins by writing to its own layer alone."""
        layers = tuple(block.inputs)
        encoders: list[Tensor] = []
        encoder_biases: list[Tensor] = []
        decoders: list[list[Tensor]] = []
        biases: list[Tensor] = []
        statistics: list[Statistics] = []
        for i, layer in enumerate(layers):
            x, y = (side[layer].to(torch.float32) for side in (block.inputs, block.outputs))
            single, known = begin(config, mlps[layer], x, y, config.seed * 1_000 + layer)
            beyond = [torch.zeros_like(single.decoder) for _ in layers[i + 1 :]]
            encoders.append(single.encoder)
            encoder_biases.append(single.encoder_bias)
            decoders.append([single.decoder, *beyond])
            biases.append(single.bias)
            statistics.append(known)
        return TrainedCrossLayer(
            config, layers, CrossParameters(encoders, encoder_biases, decoders, biases), statistics
        )

    @torch.no_grad()
    def train(self, block: Block, /) -> Mapping[Layer, LayerProgress]:
        """All steps on a block; afterwards dead features are planted anew."""
        losses: list[list[float]] = []
        actives: list[list[float]] = []
        for rows in block.batches(self.config):
            x, y = ([side[layer][rows] for layer in self.layers] for side in (block.inputs, block.outputs))
            found = self.step(x, y, self.config.rate_at(self.adam.steps))
            losses.append(found.losses)
            actives.append(found.l0)
        dead = cast("list[float]", (self.silent >= self.config.dead_after).float().mean(1).tolist())
        if self.adam.steps < REPLANTED_UNTIL * self.config.n_steps():
            self.replant(block)
        n = len(losses)
        return {
            layer: LayerProgress(sum(each[i] for each in losses) / n, sum(each[i] for each in actives) / n, dead[i])
            for i, layer in enumerate(self.layers)
        }

    @torch.no_grad()
    def step(
        self, x: list[Float[Tensor, "row d_model"]], y: list[Float[Tensor, "row d_model"]], rate: float
    ) -> CrossGradients:
        """One step of Adam on a batch of every layer."""
        codes = [self._codes(i, rows) for i, rows in enumerate(x)]
        variances = [known.variance for known in self.statistics]
        found = cross_gradients(self.parameters, codes, x, y, variances)
        if any(math.isinf(loss) for loss in found.losses):
            raise diverged(self.config, self.adam.steps)
        self.adam.step(found.tensors, rate)
        self._follow()
        self.silent = torch.where(torch.stack(found.fired) > 0, 0, self.silent + len(x[0]))
        return found

    @torch.no_grad()
    def replant(self, block: Block) -> int:
        """Dead features read inputs that their own layer explains worst, and write nothing yet; how many."""
        planted = 0
        first = slice(0, self.config.batch)
        for i, layer in enumerate(self.layers):
            dead = dead_features(self.silent[i], self.config)
            x = block.inputs[layer][first].to(self.parameters.biases[i].dtype)
            y = block.outputs[layer][first].to(x.dtype)
            worst = (y - self.statistics[i].mean_out).square().sum(1).argsort(descending=True, stable=True)
            dead = dead[: len(worst)]
            if len(dead) == 0:
                continue
            rows = x[worst[: len(dead)]] - self.statistics[i].mean_in
            length = self.parameters.encoders[i].square().sum(1).sqrt().mean()
            rows = F.normalize(rows, dim=1) * length
            self.parameters.encoders[i][dead] = rows
            self.parameters.encoder_biases[i][dead] = -(rows @ self.statistics[i].mean_in)
            for decoder in self.parameters.decoders[i]:
                decoder[dead] = 0
            self.silent[i][dead] = 0
            planted += len(dead)
            self.adam.forget(dead, self.parameters.numbers_of(i))
        self._follow()
        return planted

    def finished(self) -> CrossLayer:
        """The transcoder as it stands."""
        p = self.parameters
        rules = [rule_after(self.config, t, b) for t, b in zip(self.thresholds, p.encoder_biases, strict=True)]
        return CrossLayer(
            {layer: Encoder(p.encoders[i], p.encoder_biases[i], rules[i]) for i, layer in enumerate(self.layers)},
            {layer: torch.stack(p.decoders[i]) for i, layer in enumerate(self.layers)},
            {layer: p.biases[i] for i, layer in enumerate(self.layers)},
        )

    def state(self) -> Mapping[str, Tensor]:
        """Every tensor that the training goes on from."""
        thresholds = [math.nan if t is None else t for t in self.thresholds]
        numbers = [self.adam.steps, *thresholds, *(known.variance for known in self.statistics)]
        named = {"silent": self.silent, "numbers": torch.tensor(numbers, dtype=torch.float64)}
        named |= {f"weight.{i}": tensor for i, tensor in enumerate(self.parameters.tensors())} | self.adam.state()
        for i, known in enumerate(self.statistics):
            named |= {f"mean_in.{i}": known.mean_in, f"mean_out.{i}": known.mean_out}
        return named

    @staticmethod
    def restored(config: TrainConfig, layers: tuple[Layer, ...], state: Mapping[str, Tensor]) -> "TrainedCrossLayer":
        """The transcoder whose state this was."""
        n = len(layers)
        weights = [state[name] for name in takewhile(state.__contains__, (f"weight.{i}" for i in count()))]
        steps, *numbers = cast("list[float]", state["numbers"].tolist())
        statistics = [Statistics(state[f"mean_in.{i}"], state[f"mean_out.{i}"], numbers[n + i]) for i in range(n)]
        trained = TrainedCrossLayer(config, layers, CrossParameters.of(weights, n), statistics)
        trained.adam.restore(state, int(steps))
        trained.thresholds = [None if math.isnan(t) else t for t in numbers[:n]]
        trained.silent = state["silent"]
        return trained

    def _codes(self, i: int, x: Float[Tensor, "row d_model"]) -> Codes:
        encoder, bias = self.shadows[i]
        wide = self.parameters.biases[i].dtype
        pre = F.linear(x, encoder, bias)
        codes, self.thresholds[i] = selected(pre, self.config.selection, self.config.k, self.thresholds[i], wide)
        return codes

    def _follow(self) -> None:
        for i, (encoder, bias) in enumerate(self.shadows):
            encoder.copy_(self.parameters.encoders[i])
            bias.copy_(self.parameters.encoder_biases[i])
