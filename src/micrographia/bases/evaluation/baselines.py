"""What a basis has to beat, fitted on training text: a linear map, the mean, nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.evaluation.passages import Passages
from micrographia.bases.evaluation.passes import watch
from micrographia.bases.evaluation.standin import MlpView, StandIn, Turn, Written, wide
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.store import Progress

__all__ = ["Calibration", "ConstantStandIn", "LinearStandIn", "calibrate"]

_SHRINKAGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Ridge penalties to choose from, as shares of the mean variance of an input."""


@final
class ConstantStandIn:
    """Writes the same at every position: the mean output, or, without one, nothing."""

    __slots__ = ("_outputs", "layers")

    def __init__(self, outputs: Mapping[Layer, Float[Tensor, " d_model"]]) -> None:
        self._outputs = dict(outputs)
        self.layers = tuple(sorted(self._outputs))

    def begin(self) -> Turn:
        return self._write

    def slope(self, view: MlpView, v: Float[Tensor, "row d_model"], /) -> Float[Tensor, "row d_model"]:
        return torch.zeros_like(v)

    def _write(self, view: MlpView, /) -> Written | None:
        return Written(self._outputs[view.layer].expand_as(view.x)) if view.layer in self._outputs else None


@final
class LinearStandIn:
    """Each layer's output as an affine map of its input: what a skip path can do alone."""

    __slots__ = ("_biases", "_maps", "layers")

    def __init__(
        self,
        maps: Mapping[Layer, Float[Tensor, "d_model d_model"]],
        biases: Mapping[Layer, Float[Tensor, " d_model"]],
    ) -> None:
        self._maps, self._biases = dict(maps), dict(biases)
        self.layers = tuple(sorted(self._maps))

    def begin(self) -> Turn:
        return self._write

    def slope(self, view: MlpView, v: Float[Tensor, "row d_model"], /) -> Float[Tensor, "row d_model"]:
        return v @ self._maps[view.layer].T

    def _write(self, view: MlpView, /) -> Written | None:
        if view.layer not in self._maps:
            return None
        return Written(torch.addmm(self._biases[view.layer], view.x, self._maps[view.layer].T))


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What training text gave."""

    n_positions: int
    means: Mapping[Layer, Float[Tensor, " d_model"]]
    """Each MLP's mean output."""
    linear: LinearStandIn
    active: Mapping[Layer, float]
    """The basis's mean number of active features; 0 where it has none."""


@final
class _Moments:
    """Sums of one layer over positions: inputs, outputs, and their products; on the CPU, in float64."""

    def __init__(self) -> None:
        self.n, self.yy = 0, 0.0
        self.x, self.y, self.xx, self.xy = (torch.zeros((), dtype=torch.float64) for _ in range(4))

    def add(self, x: Float[Tensor, "row d_in"], y: Float[Tensor, "row d_out"]) -> None:
        self.n += len(x)
        self.x = self.x + _exact(x.sum(0))
        self.y = self.y + _exact(y.sum(0))
        self.xx = self.xx + _exact(x.T @ x)
        self.xy = self.xy + _exact(x.T @ y)
        self.yy += float(y.square().sum())

    def ridge(self) -> tuple[Float[Tensor, "d_out d_in"], Float[Tensor, " d_out"]]:
        """The affine map from inputs to outputs, its penalty chosen by generalised cross-validation."""
        mean_x, mean_y = self.x / self.n, self.y / self.n
        covariance = self.xx - self.n * mean_x.outer(mean_x)
        values, axes = cast("tuple[Tensor, Tensor]", torch.linalg.eigh(covariance))
        values = values.clamp(min=0.0)
        along = axes.T @ (self.xy - self.n * mean_x.outer(mean_y))
        spread = self.yy - self.n * float(mean_y.square().sum())
        penalties = [share * float(values.mean()) for share in _SHRINKAGES]
        best = min(penalties, key=lambda penalty: self._expected_error(values, along, spread, penalty))
        weight = (axes @ (along / (values + best)[:, None])).T
        return weight, mean_y - weight @ mean_x

    def _expected_error(self, values: Tensor, along: Tensor, spread: float, penalty: float) -> float:
        """What the map with this penalty would leave on other text, up to a factor: its error here, made larger for
        the freedom that it had."""
        kept = values / (values + penalty)
        explained = (along.square().sum(1) / (values + penalty) * (2 - kept)).sum()
        freedom = min(float(kept.sum()) / self.n, 1 - 1e-9)
        return (spread - float(explained)) / (1 - freedom) ** 2


def calibrate(model: Model, passages: Passages, basis: StandIn, *, tokens: int, progress: Progress) -> Calibration:
    """Read training text once: what the MLPs write on average, the best linear maps, how many features are active."""
    moments = {layer: _Moments() for layer in basis.layers}
    active = dict.fromkeys(basis.layers, 0)
    done = 0
    for batch in passages.batches(tokens, model.device):
        turn = basis.begin()

        def see(view: MlpView, y: Tensor, turn: Turn = turn) -> None:
            written = turn(view)
            if written is None:
                return
            moments[view.layer].add(view.x, y)
            active[view.layer] += 0 if written.acts is None else int(written.acts.count_nonzero())

        where = batch.counted
        watch(model, batch, see, where=where)
        done += int(where.sum())
        progress("calibrating", done, passages.n_positions)
    dtype, device = wide(model), model.device
    fitted = {layer: its.ridge() for layer, its in moments.items()}
    return Calibration(
        n_positions=done,
        means={layer: (its.y / its.n).to(device, dtype) for layer, its in moments.items()},
        linear=LinearStandIn(
            {layer: weight.to(device, dtype) for layer, (weight, _) in fitted.items()},
            {layer: bias.to(device, dtype) for layer, (_, bias) in fitted.items()},
        ),
        active={layer: count / done for layer, count in active.items()},
    )


def _exact(sums: Tensor) -> Tensor:
    return sums.to("cpu").to(torch.float64)
