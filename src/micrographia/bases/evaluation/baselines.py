"""What a basis has to beat, fitted on training text: a linear map, the mean, nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast, final

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.evaluation.passages import Passages
from micrographia.bases.evaluation.passes import watch
from micrographia.bases.evaluation.standin import MlpView, StandIn, Turn, Written, wide
from micrographia.errors import WorkError
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.store import Progress

__all__ = ["Affine", "Calibration", "ConstantStandIn", "LinearStandIn", "Moments", "calibrate", "ridge"]

_SHARES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Penalties to choose from, as shares of an input's mean variance."""
_COUNTED = 4_096
"""Positions after which a mean number of active features is known well enough."""

Affine: TypeAlias = tuple[Float[Tensor, "d_out d_in"], Float[Tensor, " d_out"]]
"""A matrix and a bias."""


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
    """Each MLP's mean output, also where the basis writes nothing."""
    linear: LinearStandIn
    active: Mapping[Layer, float]
    """The basis's mean number of active features; 0 where it has none."""


@final
class Moments:
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

    def plus(self, other: "Moments") -> "Moments":
        both = Moments()
        both.n, both.yy = self.n + other.n, self.yy + other.yy
        both.x, both.y = self.x + other.x, self.y + other.y
        both.xx, both.xy = self.xx + other.xx, self.xy + other.xy
        return both

    def means(self) -> tuple[Float[Tensor, " d_in"], Float[Tensor, " d_out"]]:
        return self.x / self.n, self.y / self.n

    def about(
        self, x: Float[Tensor, " d_in"], y: Float[Tensor, " d_out"]
    ) -> tuple[Float[Tensor, "d_in d_in"], Float[Tensor, "d_in d_out"], float]:
        """The products, inputs and outputs counted from a point: of inputs, of both, and of outputs with themselves."""
        xx = self.xx - self.x.outer(x) - x.outer(self.x) + self.n * x.outer(x)
        xy = self.xy - self.x.outer(y) - x.outer(self.y) + self.n * x.outer(y)
        return xx, xy, self.yy - 2 * float(self.y @ y) + self.n * float(y @ y)


def ridge(one: Moments, other: Moments) -> Affine:
    """The affine map from inputs to outputs; its penalty is the one with which each half serves the other best."""
    errors = [sum(both) for both in zip(_errors(one, other), _errors(other, one), strict=True)]
    whole = one.plus(other)
    mean_x, mean_y = whole.means()
    xx, xy, _ = whole.about(mean_x, mean_y)
    penalty = _SHARES[errors.index(min(errors))] * xx.diagonal().mean()
    weight = cast("Tensor", torch.linalg.solve(xx + penalty * torch.eye(len(xx), dtype=xx.dtype), xy)).T
    return weight, mean_y - weight @ mean_x


def _errors(learned: Moments, judged: Moments) -> list[float]:
    """For each penalty what a map learned on one half leaves on the other, in the axes in which it is diagonal."""
    mean_x, mean_y = learned.means()
    xx, xy, _ = learned.about(mean_x, mean_y)
    values, axes = cast("tuple[Tensor, Tensor]", torch.linalg.eigh(xx))
    there_xx, there_xy, there_yy = judged.about(mean_x, mean_y)
    there_xx, there_xy, along = axes.T @ there_xx @ axes, axes.T @ there_xy, axes.T @ xy
    errors: list[float] = []
    for share in _SHARES:
        weight = along / (values + share * values.mean())[:, None]
        errors.append(there_yy + float((weight * (there_xx @ weight - 2 * there_xy)).sum()))
    return errors


def calibrate(model: Model, passages: Passages, basis: StandIn, *, tokens: int, progress: Progress) -> Calibration:
    """Read training text once: what the MLPs write on average, the best linear maps, how many features are active."""
    moments = {layer: (Moments(), Moments()) for layer in basis.layers}
    layers = map(Layer, range(model.anatomy.n_layers))
    sums = {layer: torch.zeros(model.anatomy.d_model, dtype=torch.float64) for layer in layers}
    active = dict.fromkeys(basis.layers, 0)
    done = counted = 0
    for batch in passages.batches(tokens, model.device):
        where = batch.counted
        even, turn = batch.document_of(where) % 2 == 0, basis.begin() if counted < _COUNTED else None

        def see(view: MlpView, y: Tensor, even: Tensor = even, turn: Turn | None = turn) -> None:
            sums[view.layer] += _exact(y.sum(0))
            for half, rows in zip(moments.get(view.layer, ()), (even, ~even), strict=False):
                half.add(view.x[rows], y[rows])
            if turn is not None and (written := turn(view)) is not None and written.acts is not None:
                active[view.layer] += int(written.acts.count_nonzero())

        watch(model, batch, see, where=where)
        done += len(even)
        counted += 0 if turn is None else len(even)
        progress("calibrating", done, passages.n_positions)
    broken = [layer for layer, total in sums.items() if not total.isfinite().all()]
    if broken:
        raise WorkError(
            f"What the MLPs of layers {', '.join(map(str, broken))} write is not a number at some positions: the model "
            "overflows in its dtype, or its weights are broken. Evaluate with --dtype float32."
        )
    dtype, device = wide(model), model.device
    fitted = {layer: ridge(*halves) for layer, halves in moments.items()}
    return Calibration(
        n_positions=done,
        means={layer: (total / done).to(device, dtype) for layer, total in sums.items()},
        linear=LinearStandIn(
            {layer: weight.to(device, dtype) for layer, (weight, _) in fitted.items()},
            {layer: bias.to(device, dtype) for layer, (_, bias) in fitted.items()},
        ),
        active={layer: count / counted for layer, count in active.items()},
    )


def _exact(sums: Tensor) -> Tensor:
    return sums.to("cpu").to(torch.float64)
