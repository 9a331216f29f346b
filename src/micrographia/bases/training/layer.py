"""One layer in training: its weights, its optimiser, and what it remembers from step to step."""

import math
from collections.abc import Mapping
from typing import cast, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.bases.activation import ActivationRule, JumpRelu, TopK
from micrographia.bases.training.adam import Adam
from micrographia.bases.training.blocks import Block
from micrographia.bases.training.codes import Codes
from micrographia.bases.training.config import TrainConfig
from micrographia.bases.training.start import Statistics, begin, replant
from micrographia.bases.training.step import Parameters, Shadow, gradients, selected
from micrographia.bases.training.unit import LayerProgress
from micrographia.bases.transcoder import Encoder, TranscoderLayer
from micrographia.errors import CallError, WorkError
from micrographia.ids import Layer
from micrographia.model.weights import MlpWeights

__all__ = ["REPLANTED_UNTIL", "TrainedLayer", "dead_features", "diverged", "rule_after"]

REPLANTED_UNTIL = 0.8
"""The share of the training in which dead features are planted anew: later ones could not grow."""


@final
class TrainedLayer:
    """Weights and moments of one layer; `step` changes them in place."""

    def __init__(self, config: TrainConfig, layer: Layer, parameters: Parameters, statistics: Statistics) -> None:
        self.config = config
        self.layer = layer
        self.parameters = parameters
        self.statistics = statistics
        self.shadow = Shadow.of(parameters, config.kept_as())
        self.adam = Adam(parameters.tensors())
        self.silent = torch.zeros(config.features, dtype=torch.int64, device=parameters.bias.device)
        """Positions since each feature was last active."""
        self.threshold: float | None = None

    @staticmethod
    def begin(
        config: TrainConfig, layer: Layer, mlp: MlpWeights, block: Block, start: TranscoderLayer | None = None
    ) -> "TrainedLayer":
        """A layer before its first step: its weights are those it starts from, or are made from the first block."""
        x, y = (side[layer].to(torch.float32) for side in (block.inputs, block.outputs))
        if start is None:
            return TrainedLayer(config, layer, *begin(config, mlp, x, y, config.seed * 1_000 + layer))
        trained = TrainedLayer(config, layer, _parameters_of(start, config, layer), Statistics.of(x, y))
        if isinstance(start.encoder.rule, JumpRelu) and config.selection == "batchtopk":
            trained.threshold = float(start.encoder.rule.threshold.mean())
        return trained

    @torch.no_grad()
    def train(self, block: Block, /) -> Mapping[Layer, LayerProgress]:
        """All steps on a block; afterwards dead features are planted anew."""
        x, y = block.inputs[self.layer], block.outputs[self.layer]
        losses: list[float] = []
        actives: list[float] = []
        for rows in block.batches(self.config):
            loss, l0 = self.step(x[rows], y[rows], self.config.rate_at(self.adam.steps))
            losses.append(loss)
            actives.append(l0)
        dead = self.dead_share()
        if self.adam.steps < REPLANTED_UNTIL * self.config.n_steps():
            self.replant(x[: self.config.batch], y[: self.config.batch])
        return {self.layer: LayerProgress(sum(losses) / len(losses), sum(actives) / len(actives), dead)}

    @torch.no_grad()
    def step(
        self, x: Float[Tensor, "row d_model"], y: Float[Tensor, "row d_model"], rate: float
    ) -> tuple[float, float]:
        """One step of Adam on a batch; its loss (the fraction of variance unexplained) and mean active features."""
        codes, self.threshold = self._codes(x)
        found = gradients(self.parameters, self.shadow, codes, x, y, self.statistics.variance)
        if math.isinf(found.loss):
            raise diverged(self.config, self.adam.steps)
        self.adam.step(found.tensors, rate)
        self.shadow.follow(self.parameters)
        self.silent = torch.where(found.fired > 0, 0, self.silent + len(x))
        return found.loss, found.l0

    @torch.no_grad()
    def replant(self, x: Float[Tensor, "row d_model"], y: Float[Tensor, "row d_model"]) -> int:
        """Plant dead features anew where the output is explained worst; how many."""
        planted = dead_features(self.silent, self.config)[: len(x)]
        if len(planted) == 0:
            return 0
        codes, _ = self._codes(x)
        wide = self.parameters.bias.dtype
        out = codes.decode(self.parameters.decoder) + self.parameters.bias
        if self.parameters.skip is not None:
            out = torch.addmm(out, x.to(wide), self.parameters.skip.T)
        replant(self.parameters, planted, x.to(wide), out - y, self.statistics.mean_in)
        self.shadow.follow(self.parameters)
        self.adam.forget(planted, range(3))
        self.silent[planted] = 0
        return len(planted)

    def dead_share(self) -> float:
        return float((self.silent >= self.config.dead_after).float().mean())

    def finished(self) -> TranscoderLayer:
        """The layer as a transcoder, its tensors shared with the training."""
        p = self.parameters
        rule = rule_after(self.config, self.threshold, p.encoder_bias)
        return TranscoderLayer(Encoder(p.encoder, p.encoder_bias, rule), p.decoder, p.bias, p.skip)

    def state(self) -> Mapping[str, Tensor]:
        """Every tensor that the training goes on from."""
        numbers = [self.adam.steps, math.nan if self.threshold is None else self.threshold, self.statistics.variance]
        named = {"silent": self.silent, "numbers": torch.tensor(numbers, dtype=torch.float64)}
        named |= {f"weight.{i}": tensor for i, tensor in enumerate(self.parameters.tensors())} | self.adam.state()
        return named | {"mean_in": self.statistics.mean_in, "mean_out": self.statistics.mean_out}

    @staticmethod
    def restored(config: TrainConfig, layer: Layer, state: Mapping[str, Tensor]) -> "TrainedLayer":
        """The layer whose state this was."""
        encoder, encoder_bias, decoder, bias, *skip = (state[f"weight.{i}"] for i in range(5 if config.skip else 4))
        parameters = Parameters(encoder, encoder_bias, decoder, bias, skip[0] if skip else None)
        steps, threshold, variance = cast("list[float]", state["numbers"].tolist())
        trained = TrainedLayer(config, layer, parameters, Statistics(state["mean_in"], state["mean_out"], variance))
        trained.adam.restore(state, int(steps))
        trained.threshold = None if math.isnan(threshold) else threshold
        trained.silent = state["silent"]
        return trained

    def _codes(self, x: Float[Tensor, "row d_model"]) -> tuple[Codes, float | None]:
        wide = self.parameters.encoder.dtype
        return selected(self.shadow.pre(x), self.config.selection, self.config.k, self.threshold, wide)


def _parameters_of(start: TranscoderLayer, config: TrainConfig, layer: Layer) -> Parameters:
    if start.encoder.n_features != config.features or (start.skip is not None) != config.skip:
        there = f"{start.encoder.n_features} features {'with' if start.skip is not None else 'without'} a skip path"
        raise CallError(f"Layer {layer} starts from {there}, and the choices are others: features, skip.")
    weights = (start.encoder.weight, start.encoder.bias, start.decoder, start.bias)
    own = [tensor.to(torch.float32, copy=True).contiguous() for tensor in weights]
    skip = None if start.skip is None else start.skip.to(torch.float32, copy=True).contiguous()
    return Parameters(own[0], own[1], own[2], own[3], skip)


def dead_features(silent: Int[Tensor, " feature"], config: TrainConfig) -> Int[Tensor, " dead"]:
    return (silent >= config.dead_after).nonzero()[:, 0]


def rule_after(config: TrainConfig, threshold: float | None, like: Float[Tensor, " feature"]) -> ActivationRule:
    """How features are read out after training: BatchTopK's running threshold becomes everybody's threshold."""
    if threshold is None:
        return TopK(config.k)
    return JumpRelu(torch.full_like(like, max(threshold, 0.0)))


def diverged(config: TrainConfig, steps: int) -> WorkError:
    return WorkError(
        f"The loss is no longer a number after {steps} steps. Lower the learning rate "
        f"(it peaks at {config.peak_rate():.1e})."
    )
