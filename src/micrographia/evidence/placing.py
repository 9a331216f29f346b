"""From an intervention to what is put where: vectors, numbers and places, worked out once from the clean run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.neurons import Neurons
from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.interventions import (
    Constrained,
    Direction,
    Error,
    Feature,
    Free,
    Head,
    Intervention,
    Iterative,
    Mode,
    Neuron,
    Step,
    Token,
)
from micrographia.model.site import Point

__all__ = ["Placed", "Projected", "Shift", "place"]


@dataclass(frozen=True, slots=True)
class Shift:
    """A step, with the clean value that it found and the new one."""

    step: Step
    clean: float
    new: float


@dataclass(frozen=True, slots=True, eq=False)
class Projected:
    """The residual behind a block gets this projection on a unit vector."""

    unit: Float[Tensor, " d_model"]
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """One intervention on one run. Keys are (layer, position), or (layer, index, position)."""

    written: Mapping[tuple[int, int], Float[Tensor, " d_model"]] = field(default_factory=dict[tuple[int, int], Tensor])
    """What is added to an MLP's clean output; that output is then put there, whatever the MLP would say."""
    features: Mapping[tuple[int, int, int], float] = field(default_factory=dict[tuple[int, int, int], float])
    """New activations, where features are read anew."""
    neurons: Mapping[tuple[int, int, int], float] = field(default_factory=dict[tuple[int, int, int], float])
    heads: Mapping[tuple[int, int, int], Float[Tensor, " d_head"]] = field(
        default_factory=dict[tuple[int, int, int], Tensor]
    )
    stream: Mapping[tuple[int, int], tuple[Projected, ...]] = field(
        default_factory=dict[tuple[int, int], tuple[Projected, ...]]
    )
    tokens: Mapping[int, Float[Tensor, " d_model"]] = field(default_factory=dict[int, Tensor])
    """What is added to an embedding."""
    shifts: tuple[Shift, ...] = ()

    @property
    def layer(self) -> int:
        """The lowest layer that is touched; everything below it is as in the clean run."""
        parts = (self.written, self.features, self.neurons, self.heads, self.stream)
        return min([*(key[0] for part in parts for key in part), *([0] if self.tokens else [])])

    @property
    def position(self) -> int:
        """The first position that is touched; everything in front of it is as in the clean run."""
        parts = (self.written, self.features, self.neurons, self.heads, self.stream)
        return min([*(key[-1] for part in parts for key in part), *self.tokens])


def place(bench: Bench, intervention: Intervention, mode: Mode) -> Placed:
    """Work an intervention out. What is not there is refused."""
    placing = _Placing(bench, mode)
    for step in intervention.steps:
        placing.take(step)
    return placing.placed()


class _Placing:
    """An intervention half worked out."""

    def __init__(self, bench: Bench, mode: Mode) -> None:
        self.bench = bench
        self.mode = mode
        self._held = mode.layers(bench.n_layers) if isinstance(mode, Constrained) else range(0)
        self._written: dict[tuple[int, int], Tensor] = {}
        self._features: dict[tuple[int, int, int], float] = {}
        self._neurons: dict[tuple[int, int, int], float] = {}
        self._heads: dict[tuple[int, int, int], Tensor] = {}
        self._stream: dict[tuple[int, int], tuple[Projected, ...]] = {}
        self._tokens: dict[int, Tensor] = {}
        self._shifts: list[Shift] = []

    def placed(self) -> Placed:
        parts = (self._written, self._features, self._neurons, self._heads, self._stream, self._tokens)
        return Placed(*parts, shifts=tuple(self._shifts))

    @torch.no_grad()
    def take(self, step: Step) -> None:
        """Add one step."""
        part = step.part
        self.bench.check_position(part.position)
        match part:
            case Feature():
                self._feature(part, step)
            case Error():
                self._error(part, step)
            case Token():
                self._token(part, step)
            case Neuron():
                self._neuron(part, step)
            case Head():
                self._head(part, step)
            case Direction():
                self._direction(part, step)
            case _:
                assert_never(part)

    def _shifted(self, step: Step, clean: float) -> Shift:
        shift = Shift(step, clean, step.change.new(clean))
        self._shifts.append(shift)
        return shift

    def _feature(self, part: Feature, step: Step) -> None:
        bench, place = self.bench, (part.layer, part.index, part.position)
        bench.check_feature(part.layer, part.index)
        clean = float(bench.active(part.layer)[part.position, part.index])
        if clean == 0 and step.change.how == "scale":
            here = int((bench.found.layers[part.layer].position == part.position).sum())
            raise CallError(
                f"Feature {part.layer}.{part.index} is not active at position {part.position}, where {here} others "
                f"are: a multiple of 0 is 0. To switch it on, set a value: {part}=5."
            )
        shift = self._shifted(step, clean)
        match self.mode:
            case Free():
                self._push(part, shift.new - clean, [part.layer])
            case Constrained():
                self._check_held(part)
                self._push(part, shift.new - clean, [to for to in bench.written_to(part.layer) if to in self._held])
            case Iterative() if isinstance(bench.basis, Neurons):
                self._neurons[place] = shift.new
            case Iterative():
                self._features[place] = shift.new
            case _:
                assert_never(self.mode)

    def _push(self, part: Feature, by: float, layers: list[int]) -> None:
        for to in layers:
            self._write((to, part.position), by * self.bench.write(part.layer, [part.index], part.position, to)[0])

    def _write(self, place: tuple[int, int], vector: Float[Tensor, " d_model"]) -> None:
        self._written[place] = self._written[place] + vector if place in self._written else vector

    def _check_held(self, part: Feature | Error | Neuron) -> None:
        if part.layer not in self._held:
            raise CallError(
                f"{part} lies outside the layers that are held, {self._held[0]} to {self._held[-1]}: "
                "let the range begin at its layer, or use the free mode."
            )

    def _error(self, part: Error, step: Step) -> None:
        error = self.bench.layer(part.layer).error
        vector = self.bench.frozen.embed.new_zeros(()) if error is None else error[part.position]
        length = _length(vector)
        if not length:
            raise CallError(
                f"There is no error at layer {part.layer}, position {part.position}: the basis is exact there."
            )
        if isinstance(self.mode, Constrained):
            self._check_held(part)
        shift = self._shifted(step, length)
        self._write((part.layer, part.position), (shift.new - length) / length * vector)

    def _token(self, part: Token, step: Step) -> None:
        vector = self.bench.frozen.embed[part.position]
        length = _length(vector)
        shift = self._shifted(step, length)
        self._tokens[part.position] = (shift.new - length) / length * vector

    def _neuron(self, part: Neuron, step: Step) -> None:
        bench, frozen = self.bench, self.bench.frozen
        bench.layer(part.layer)
        self._check_index("neuron", part, bench.model.anatomy.d_mlp)
        shift = self._shifted(step, float(bench.clean(Point.POST, part.layer)[part.position, part.index]))
        match self.mode:
            case Free():
                self._neurons[part.layer, part.index, part.position] = shift.new
            case Iterative():
                if not isinstance(bench.basis, Neurons) and bench.n_features(part.layer):
                    raise CallError(
                        f"{part} is no feature of this basis, whose features stand in for the MLP of layer "
                        f"{part.layer} in the iterative mode. Use the free mode."
                    )
                self._neurons[part.layer, part.index, part.position] = shift.new
            case Constrained():
                self._check_held(part)
                weight = frozen.weights.blocks[part.layer].mlp.down.weight
                [row] = frozen.behind_mlp(part.layer, weight.T[part.index : part.index + 1])
                scale = frozen.layers[part.layer].mlp_post_norm_scale
                row = row if scale is None else row / scale[part.position]
                self._write((part.layer, part.position), (shift.new - shift.clean) * row)
            case _:
                assert_never(self.mode)

    def _head(self, part: Head, step: Step) -> None:
        self.bench.layer(part.layer)
        self._check_index("head", part, self.bench.model.anatomy.n_heads)
        z = self.bench.clean(Point.Z, part.layer)[part.position, part.index]
        length = _length(z)
        shift = self._shifted(step, length)
        self._heads[part.layer, part.index, part.position] = shift.new / length * z if length else z

    def _check_index(self, name: str, part: Neuron | Head, count: int) -> None:
        if not 0 <= part.index < count:
            raise CallError(f"There is no {name} {part.index} in layer {part.layer}: it has {count}, 0 to {count - 1}.")

    def _direction(self, part: Direction, step: Step) -> None:
        self.bench.layer(part.layer)
        d_model = self.bench.model.anatomy.d_model
        length = _length(part.vector)
        if part.vector.shape != (d_model,) or not length:
            raise CallError(f"A direction has {d_model} entries here, not all of them 0.")
        unit = part.vector.to(self.bench.frozen.embed) / length
        shift = self._shifted(step, float(self.bench.frozen.residuals[part.layer + 1][part.position] @ unit))
        place = (part.layer, part.position)
        self._stream[place] = (*self._stream.get(place, ()), Projected(unit, shift.new))


def _length(vector: Float[Tensor, "..."]) -> float:
    return float(vector.square().sum().sqrt())
