"""One layer in training: its weights, its optimiser, and what it remembers from step to step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.activation import ActivationRule, JumpRelu, TopK
from micrographia.bases.training.codes import Codes
from micrographia.bases.training.config import TrainConfig
from micrographia.bases.training.start import Statistics, replant
from micrographia.bases.training.step import Parameters, gradients, selected
from micrographia.bases.transcoder import Encoder, TranscoderLayer
from micrographia.errors import WorkError

__all__ = ["LayerProgress", "TrainedLayer"]

_BETAS = (0.9, 0.999)
_EPS = 1e-8


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """How a layer fared over one block."""

    fvu: float
    l0: float
    dead: float
    """The share of features that were not active for so long that they count as dead."""


@final
class TrainedLayer:
    """Weights and moments of one layer; `step` changes them in place."""

    def __init__(self, config: TrainConfig, parameters: Parameters, statistics: Statistics) -> None:
        self.config = config
        self.parameters = parameters
        self.statistics = statistics
        self.first = [torch.zeros_like(tensor) for tensor in parameters.tensors()]
        self.second = [torch.zeros_like(tensor) for tensor in parameters.tensors()]
        self.silent = torch.zeros(config.features, dtype=torch.int64, device=parameters.bias.device)
        """Positions since each feature was last active."""
        self.steps = 0
        self.threshold: float | None = None

    @torch.no_grad()
    def step(
        self, x: Float[Tensor, "row d_model"], y: Float[Tensor, "row d_model"], rate: float
    ) -> tuple[float, float]:
        """One step of Adam on a batch; its loss (the fraction of variance unexplained) and mean active features."""
        codes, self.threshold = self._codes(x)
        found = gradients(self.parameters, codes, x, y, self.statistics.variance)
        if found.loss == float("inf"):
            raise WorkError(
                f"The loss is no longer a number after {self.steps} steps. Lower the learning rate "
                f"(it peaks at {self.config.peak_rate():.1e}), and look for NaN in the activations."
            )
        self._adam(found.tensors, rate)
        self.silent = torch.where(found.fired > 0, 0, self.silent + len(x))
        return found.loss, found.l0

    @torch.no_grad()
    def replant(self, x: Float[Tensor, "row d_model"], y: Float[Tensor, "row d_model"]) -> int:
        """Plant dead features anew where the output is explained worst; how many."""
        dead = (self.silent >= self.config.dead_after).nonzero()[:, 0]
        if len(dead) == 0:
            return 0
        codes, _ = self._codes(x)
        out = codes.decode(self.parameters.decoder) + self.parameters.bias
        if self.parameters.skip is not None:
            out = torch.addmm(out, x, self.parameters.skip.T)
        planted = dead[: len(x)]
        replant(self.parameters, planted, x, out - y, self.statistics.mean_in)
        for moments in (self.first, self.second):
            for tensor in moments[:3]:
                tensor[planted] = 0
        self.silent[planted] = 0
        return len(planted)

    def dead_share(self) -> float:
        return float((self.silent >= self.config.dead_after).float().mean())

    def rule(self) -> ActivationRule:
        """How features are read out after training: BatchTopK's running threshold becomes everybody's threshold."""
        if self.threshold is None:
            return TopK(self.config.k)
        return JumpRelu(torch.full_like(self.parameters.encoder_bias, max(self.threshold, 0.0)))

    def finished(self) -> TranscoderLayer:
        """The layer as a transcoder, its tensors shared with the training."""
        p = self.parameters
        return TranscoderLayer(Encoder(p.encoder, p.encoder_bias, self.rule()), p.decoder, p.bias, p.skip)

    def state(self) -> Mapping[str, Tensor]:
        """Every tensor that the training goes on from."""
        named: dict[str, Tensor] = {"silent": self.silent}
        for group, tensors in (("weight", self.parameters.tensors()), ("first", self.first), ("second", self.second)):
            named |= {f"{group}.{i}": tensor for i, tensor in enumerate(tensors)}
        return named | {"mean_in": self.statistics.mean_in, "mean_out": self.statistics.mean_out}

    def _codes(self, x: Float[Tensor, "row d_model"]) -> tuple[Codes, float | None]:
        pre = torch.addmm(self.parameters.encoder_bias, x, self.parameters.encoder.T)
        return selected(pre, self.config.selection, self.config.k, self.threshold)

    def _adam(self, grads: list[Tensor], rate: float) -> None:
        self.steps += 1
        beta1, beta2 = _BETAS
        scale = (1 - beta2**self.steps) ** 0.5
        for tensor, grad, first, second in zip(self.parameters.tensors(), grads, self.first, self.second, strict=True):
            first.lerp_(grad, 1 - beta1)
            second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            tensor.addcdiv_(first, second.sqrt().div_(scale).add_(_EPS), value=-rate / (1 - beta1**self.steps))
