"""Interventions as values: which parts of a run are changed, to what, and what else is held.

Every part has a clean value, a number along a vector of its own: a feature its activation, an error, a token's
embedding and a head's output their length, a neuron its activation, a direction the residual's projection on it.

    Change("scale", 0.0)    ablate: the new value is 0; `scale` multiplies the clean value, whatever it is now
    Change("set", 3.0)      the new value is 3, absolute
    Change("add", 3.0)      the new value is 3 more than the clean one

Three modes say what the rest of the model does meanwhile. In all of them attention is computed anew.

**Free.** The real model runs on. At each layer and position where features or errors are changed, the MLP's output
is put to its clean value plus Σ (new − clean) · write vector; every other MLP answers as it likes. So a changed
feature has exactly its new value, however many layers a set spans. A cross-layer feature is put in at its own layer
only: the MLPs above are the real ones and answer by themselves, and its further decoders would count that twice.

**Constrained.** In a range of layers every MLP's output is held at its clean value plus what the changed features write
there, through all decoders of a cross-layer one, worked out once from the clean run: no effect of the change on other
features inside the range. Skip paths are linear and carry on. With `frozen`, patterns and norm scales are held
as well, and what a feature's change does to another one's pre-activation is the edge of the graph.

**Iterative.** The replacement model runs: each MLP is the sum of its features, read anew from what they now get, with
those that are changed put to their new values, plus skip path, constant and the clean error. In neurons this is the
real model with some neurons set.

Neurons, heads, directions and tokens are variables of the real model: they are put to their new values as they stand,
in every mode.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor

from micrographia.errors import CallError
from micrographia.graph.nodes import Kind, NodeId

__all__ = [
    "ABLATE",
    "Change",
    "Constrained",
    "Direction",
    "Error",
    "Feature",
    "Free",
    "Head",
    "Intervention",
    "Iterative",
    "Mode",
    "Neuron",
    "Part",
    "Step",
    "Token",
    "ablate",
    "part_of",
]


# ---------------------------------------------------------------- what is changed


@dataclass(frozen=True, slots=True, order=True)
class Feature:
    """A feature of the basis, written `25.567@14`; it may be one that is not active."""

    layer: int
    index: int
    position: int

    def __str__(self) -> str:
        return f"{self.layer}.{self.index}@{self.position}"


@dataclass(frozen=True, slots=True, order=True)
class Error:
    """What the basis leaves unexplained of an MLP's output: `error.12@5`."""

    layer: int
    position: int

    def __str__(self) -> str:
        return f"error.{self.layer}@{self.position}"


@dataclass(frozen=True, slots=True, order=True)
class Token:
    """The embedding of a token, the position's own included: `token@5`."""

    position: int

    def __str__(self) -> str:
        return f"token@{self.position}"


@dataclass(frozen=True, slots=True, order=True)
class Neuron:
    """A hidden unit of an MLP: `neuron.12.301@5`."""

    layer: int
    index: int
    position: int

    def __str__(self) -> str:
        return f"neuron.{self.layer}.{self.index}@{self.position}"


@dataclass(frozen=True, slots=True, order=True)
class Head:
    """An attention head's output, in front of the output matrix: `head.23.4@14`."""

    layer: int
    index: int
    position: int

    def __str__(self) -> str:
        return f"head.{self.layer}.{self.index}@{self.position}"


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """The residual behind a block, along a vector; its length does not matter."""

    layer: int
    position: int
    vector: Float[Tensor, " d_model"]

    def __str__(self) -> str:
        return f"direction.{self.layer}@{self.position}"


Part: TypeAlias = Feature | Error | Token | Neuron | Head | Direction


@dataclass(frozen=True, slots=True)
class Change:
    """From a clean value to a new one."""

    how: Literal["scale", "set", "add"]
    value: float

    def new(self, clean: float) -> float:
        match self.how:
            case "scale":
                return clean * self.value
            case "set":
                return self.value
            case "add":
                return clean + self.value

    def __str__(self) -> str:
        sign = {"scale": "x", "set": "", "add": "+"}[self.how]
        return f"={sign}{self.value:g}"


ABLATE = Change("scale", 0.0)
"""The part is gone."""


@dataclass(frozen=True, slots=True)
class Step:
    """One part and its change: `25.567@14=x0`."""

    part: Part
    change: Change

    def __str__(self) -> str:
        return f"{self.part}{self.change}"


@dataclass(frozen=True, slots=True)
class Intervention:
    """Steps that are taken together. `later` are taken at every token that is written after the prompt, whatever
    their positions say; there the clean value is what the part has at that moment."""

    steps: tuple[Step, ...]
    later: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if not self.steps and not self.later:
            raise CallError("There is nothing to change: name at least one part, such as 25.567@14=0.")
        for name, steps in (("twice", self.steps), ("twice after the prompt", self.later)):
            parts = [step.part for step in steps]
            if twice := [part for part in parts if parts.count(part) > 1]:
                raise CallError(f"{twice[0]} is changed {name}; say once what it becomes.")

    def __str__(self) -> str:
        return ", ".join(map(str, self.steps))


def ablate(nodes: Iterable[NodeId | str], change: Change = ABLATE) -> Intervention:
    """The same change to several nodes of a graph, such as the members of a supernode."""
    named = (NodeId.parse(node) if isinstance(node, str) else node for node in nodes)
    return Intervention(tuple(Step(part_of(node), change) for node in named))


def part_of(node: NodeId) -> Part:
    """The part of a run that a node of a graph stands for."""
    match node:
        case NodeId(Kind.FEATURE, int(layer), int(position), int(index)):
            return Feature(layer, index, position)
        case NodeId(Kind.ERROR, int(layer), int(position)):
            return Error(layer, position)
        case NodeId(Kind.TOKEN, position=int(position)):
            return Token(position)
        case _:
            raise CallError(f"{node} cannot be changed: only features, errors and tokens of a graph can.")


# ---------------------------------------------------------------- what is held


@dataclass(frozen=True, slots=True)
class Free:
    """The real model runs on."""

    kind: Literal["free"] = "free"


@dataclass(frozen=True, slots=True)
class Iterative:
    """Features are read anew as they change; errors stay."""

    kind: Literal["iterative"] = "iterative"


@dataclass(frozen=True, slots=True)
class Constrained:
    """The MLPs of layers `first` to `last`, both counted in and None being the outermost, are held."""

    first: int | None = None
    last: int | None = None
    frozen: bool = False
    """Whether patterns and norm scales are held, too, in all layers."""
    kind: Literal["constrained"] = "constrained"

    def layers(self, n_layers: int) -> range:
        """The layers that are meant, if they are there."""
        first = 0 if self.first is None else self.first
        last = n_layers - 1 if self.last is None else self.last
        if not 0 <= first <= last < n_layers:
            raise CallError(
                f"There are no layers {first} to {last} to be held: this model has the layers 0 to {n_layers - 1}."
            )
        return range(first, last + 1)


Mode: TypeAlias = Free | Iterative | Constrained
