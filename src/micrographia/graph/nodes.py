"""What a graph is made of: features, errors, tokens, the bias and the targets, in one canonical order.

Features come first, by layer, position and index; then one error for every layer and position, also in a basis that
is exact (its errors are zero until something is folded into them); then the prompt's tokens, the bias, the targets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.errors import CallError

__all__ = ["Kind", "NodeId", "Nodes"]

_NOWHERE = -1


class Kind(IntEnum):
    """What a node is; the numbers are the canonical order and are written to files."""

    FEATURE = 0
    ERROR = 1
    TOKEN = 2
    BIAS = 3
    TARGET = 4


@dataclass(frozen=True, slots=True, order=True)
class NodeId:
    """One node by name; what a kind does not have is None.

    `12.301@5` is feature 301 of layer 12 at position 5, `error.12@5` the error there, `token@5` the token at position
    5, `bias` everything constant, `target.0` the first target.
    """

    kind: Kind
    layer: int | None = None
    position: int | None = None
    index: int | None = None

    def __str__(self) -> str:
        match self.kind:
            case Kind.FEATURE:
                return f"{self.layer}.{self.index}@{self.position}"
            case Kind.ERROR:
                return f"error.{self.layer}@{self.position}"
            case Kind.TOKEN:
                return f"token@{self.position}"
            case Kind.BIAS:
                return "bias"
            case Kind.TARGET:
                return f"target.{self.index}"

    @staticmethod
    def of(number: int, layer: int, position: int, index: int) -> "NodeId":
        """The name of a row of a table, in which what a kind does not have is -1."""
        kind = Kind(number)
        match kind:
            case Kind.FEATURE:
                return NodeId(kind, layer, position, index)
            case Kind.ERROR:
                return NodeId(kind, layer, position)
            case Kind.TOKEN:
                return NodeId(kind, position=position)
            case Kind.BIAS:
                return NodeId(kind)
            case Kind.TARGET:
                return NodeId(kind, index=index)

    @staticmethod
    def parse(text: str) -> "NodeId":
        """The inverse of `str`."""
        for kind, form in _FORMS.items():
            if found := form.fullmatch(text):
                return NodeId(kind, **{name: int(value) for name, value in found.groupdict().items()})
        raise CallError(
            f"{text!r} names no node. A feature is written 12.301@5 (layer, index, position), the others "
            "error.12@5, token@5, bias and target.0."
        )


_FORMS = {
    Kind.FEATURE: re.compile(r"(?P<layer>\d+)\.(?P<index>\d+)@(?P<position>\d+)"),
    Kind.ERROR: re.compile(r"error\.(?P<layer>\d+)@(?P<position>\d+)"),
    Kind.TOKEN: re.compile(r"token@(?P<position>\d+)"),
    Kind.BIAS: re.compile(r"bias"),
    Kind.TARGET: re.compile(r"target\.(?P<index>\d+)"),
}


@dataclass(frozen=True, slots=True, repr=False)
class Nodes:
    """A table of nodes in canonical order; what a kind does not have is -1.

    `index` is a feature's index, a token's id or the number of a target. `activation` is a feature's activation, the
    norm of an error's or a token's vector, a target's value in the clean run, and 1 for the bias.
    """

    kind: Int[Tensor, " node"]
    layer: Int[Tensor, " node"]
    position: Int[Tensor, " node"]
    index: Int[Tensor, " node"]
    activation: Float[Tensor, " node"]
    n_features: int
    n_layers: int
    n_positions: int
    n_targets: int

    def __len__(self) -> int:
        return len(self.kind)

    def __repr__(self) -> str:
        return f"<Nodes: {self.n_features} features at {self.n_layers} layers × {self.n_positions} positions>"

    def __iter__(self) -> Iterator[NodeId]:
        return (self.id(i) for i in range(len(self)))

    @staticmethod
    def of(
        features: tuple[Int[Tensor, " feature"], Int[Tensor, " feature"], Int[Tensor, " feature"]],
        activation: Float[Tensor, " feature"],
        errors: Float[Tensor, "layer pos"],
        tokens: Int[Tensor, " pos"],
        token_norms: Float[Tensor, " pos"],
        targets: Float[Tensor, " target"],
        target_positions: Int[Tensor, " target"],
    ) -> "Nodes":
        """The table from its parts; `features` is (layer, position, index) in canonical order."""
        n_layers, n_positions = errors.shape
        layer, position, index = features
        n, t = len(layer), len(targets)
        places, device = n_layers * n_positions, layer.device

        def nowhere(count: int) -> Tensor:
            return torch.full((count,), _NOWHERE, dtype=torch.long, device=device)

        at = torch.arange(n_positions, device=device)
        counts = torch.tensor([n, places, n_positions, 1, t], device=device)
        return Nodes(
            kind=torch.arange(len(Kind), device=device).repeat_interleave(counts),
            layer=torch.cat(
                [
                    layer,
                    torch.arange(n_layers, device=device).repeat_interleave(n_positions),
                    nowhere(n_positions + 1 + t),
                ]
            ),
            position=torch.cat([position, at.repeat(n_layers), at, nowhere(1), target_positions]),
            index=torch.cat([index, nowhere(places), tokens, nowhere(1), torch.arange(t, device=device)]),
            activation=torch.cat([activation, errors.flatten(), token_norms, activation.new_ones(1), targets]),
            n_features=n,
            n_layers=n_layers,
            n_positions=n_positions,
            n_targets=t,
        )

    @property
    def features(self) -> slice:
        return slice(0, self.n_features)

    @property
    def errors(self) -> slice:
        """By layer, then position: `rows[:, nodes.errors]` has the shape of a flattened [layer pos]."""
        return slice(self.n_features, self.n_features + self.n_layers * self.n_positions)

    @property
    def tokens(self) -> slice:
        return slice(self.errors.stop, self.errors.stop + self.n_positions)

    @property
    def bias(self) -> int:
        return self.tokens.stop

    @property
    def targets(self) -> slice:
        return slice(self.bias + 1, self.bias + 1 + self.n_targets)

    def id(self, node: int) -> NodeId:
        """The name of a node by its number."""
        columns = (self.kind, self.layer, self.position, self.index)
        return NodeId.of(*(int(column[node]) for column in columns))

    def find(self, name: str | NodeId) -> int:
        """The number of a node by its name."""
        wanted = NodeId.parse(name) if isinstance(name, str) else name
        same = self.kind == wanted.kind
        for column, value in (("layer", wanted.layer), ("position", wanted.position), ("index", wanted.index)):
            if value is not None:
                same = same & (getattr(self, column) == value)
        found = same.nonzero()
        if len(found) != 1:
            raise CallError(f"There is no node {wanted} here: {self!r}, of which only those kept have a node.")
        return int(found[0, 0])
