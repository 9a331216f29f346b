"""What a graph claims: that a group of features, or one by itself, moves the answer, which way, and how far.

A claim is read off the graph alone, before anything is tried. Ablating the members takes away what they add, so

    direct = −Σ A[target, s]                          over the members s, by the edges that lead straight to the target
    total  = Σ A[target, t] δ[t],   δ = −1 for members, else δ[t] = Σ_s A[t, s] δ[s] / pre[t]

`total` goes over all paths that are shown: if a feature's inputs lose a part, it loses the same part, for on active
features the frozen model is linear. Where a member sits, the rest of that MLP's output is held, as it is when the claim
is tested in the free mode; so other features of a member's layer and position have δ = 0.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from micrographia.errors import CallError
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind, NodeId

__all__ = ["Claim", "ClaimKind", "Predictor", "claims_of", "of_this_prompt"]

ClaimKind: TypeAlias = Literal["answer", "group", "paths", "direct"]
"""On the answer; on another group; along an edge by all paths; along an edge by nothing else."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Ablating the members changes something by so much: the target, in logits less their mean or in its own unit, or
    other features, in parts of what they are (−1: gone)."""

    name: str
    """The supernode's, or the feature's: `25.567@14`."""
    members: tuple[NodeId, ...]
    target: NodeId
    direct: float
    """By the edges from the members alone."""
    total: float
    """By all paths that are shown."""
    influence: float
    """Of its members, as a share of that of all features shown."""
    kind: ClaimKind = "answer"
    reads: tuple[NodeId, ...] = ()
    """The features that are to change; none where it is the target."""
    to: str = ""
    """What they are called."""

    def __str__(self) -> str:
        changes = self.to or self.target
        return f"without {self.name}, {changes} changes by {self.total:+.3g} ({self.direct:+.3g} directly)"

    @property
    def key(self) -> str:
        """The name of this claim among all of its graph."""
        return self.name if self.kind == "answer" else f"{self.name} → {self.to or self.target} ({self.kind})"

    @property
    def predicted(self) -> float:
        """What is tested: all paths, but for what is said to go directly."""
        return self.direct if self.kind == "direct" else self.total

    @property
    def sign(self) -> int:
        return -1 if self.predicted < 0 else 1


class Predictor:
    """The linear model of a graph that is shown, from its features to one target."""

    def __init__(self, graph: Graph, target: NodeId | str) -> None:
        self.graph = graph
        n, e = graph.nodes, graph.edges
        row = n.find(target)
        if n.kind[row] != Kind.TARGET:
            raise CallError(f"{n.id(row)} is no target; a claim is about a target, such as target.0.")
        self.target = n.id(row)
        self._count = n.spans["feature"].stop
        inner = (e.source < self._count) & (e.target < self._count)
        total = n.total[: self._count]
        if not np.isfinite(total).all():
            raise CallError(
                "This graph does not say what each feature's inputs add up to, so nothing can be predicted."
            )
        self._parts = torch.zeros(self._count, self._count, dtype=torch.float64)
        weights = e.weight[inner] / np.where(total == 0, np.inf, total)[e.target[inner]]
        self._parts[e.target[inner], e.source[inner]] = torch.from_numpy(weights)
        self._edges = torch.zeros(self._count, dtype=torch.float64)
        mine = (e.target == row) & (e.source < self._count)
        self._edges[e.source[mine]] = torch.from_numpy(e.weight[mine].copy())

    def direct(self, members: Int64[np.ndarray, " member"]) -> float:
        """What the edges from the members to the target add up to, gone."""
        return -float(self._edges[members].sum())

    def total(self, members: Int64[np.ndarray, " member"]) -> float:
        """The same by all paths that are shown."""
        return float(self._edges @ self.gains(members))

    def direct_gains(self, members: Int64[np.ndarray, " member"]) -> Float[Tensor, " feature"]:
        """The part of its value that each feature gains by edges from the members alone."""
        return -self._parts[:, members].sum(1)

    def held(self, members: Int64[np.ndarray, " member"]) -> Int64[np.ndarray, " feature"]:
        """The features at the places of the members, which stay as they are while these are tested."""
        n = self.graph.nodes
        places = n.layer[: self._count] * len(self.graph.prompt) + n.position[: self._count]
        held: Bool[np.ndarray, " feature"] = np.isin(places, places[members])
        return np.flatnonzero(held)

    def gains(self, members: Int64[np.ndarray, " member"]) -> Float[Tensor, " feature"]:
        """The part of its value that each feature gains: a lower triangular system, inputs before what they feed."""
        held = np.zeros(self._count, dtype=bool)
        held[self.held(members)] = True
        first = int(members.min())
        system = torch.eye(self._count - first, dtype=torch.float64)
        free = torch.from_numpy(~held[first:])
        system[free] -= self._parts[first:, first:][free]
        start = torch.zeros(self._count - first, dtype=torch.float64)
        start[members - first] = -1.0
        solved = cast("Tensor", torch.linalg.solve_triangular(system, start[:, None], upper=False, unitriangular=True))
        return torch.cat([torch.zeros(first, dtype=torch.float64), solved[:, 0]])


def claims_of(graph: Graph, target: NodeId | str | None = None) -> tuple[Claim, ...]:
    """What each group of a graph, and each feature that is in none, is said to do to a target; the strongest first.

    The target is the heaviest one, if none is named. What sits on tokens that stand in front of every prompt is left
    out: it is no claim about this prompt.
    """
    if target is None:
        target = NodeId(Kind.TARGET, index=max(range(len(graph.targets)), key=lambda i: graph.targets[i].weight))
    predictor = Predictor(graph, target)
    claims = [_claim(graph, predictor, name, members) for name, members in _sources(graph)]
    return tuple(sorted(_told_apart(claims), key=lambda claim: (-abs(claim.total), claim.name)))


def _told_apart(claims: Sequence[Claim]) -> Iterable[Claim]:
    """Two groups of one name get their first member's beside it."""
    names = [claim.name for claim in claims]
    for claim in claims:
        twice = names.count(claim.name) > 1
        yield replace(claim, name=f"{claim.name} ({claim.members[0]})") if twice else claim


def _sources(graph: Graph) -> Iterable[tuple[str, list[int]]]:
    n, taken = graph.nodes, set[int]()
    for group in graph.supernodes:
        members = [n.find(member) for member in group.members]
        taken.update(members)
        if inside := of_this_prompt(graph, members):
            yield group.name, inside
    for node in of_this_prompt(graph, range(n.spans["feature"].stop)):
        if node not in taken:
            yield str(n.id(node)), [node]


def of_this_prompt(graph: Graph, nodes: Sequence[int]) -> list[int]:
    """Those of some nodes that are features, and not in front of every prompt."""
    n = graph.nodes
    return [i for i in nodes if n.kind[i] == Kind.FEATURE and n.position[i] >= graph.prompt.prepended]


def _claim(graph: Graph, predictor: Predictor, name: str, members: list[int]) -> Claim:
    n, chosen = graph.nodes, np.array(sorted(members))
    whole = float(n.influence[n.spans["feature"]].sum())
    return Claim(
        name=name,
        members=tuple(n.id(int(i)) for i in chosen),
        target=predictor.target,
        direct=predictor.direct(chosen),
        total=predictor.total(chosen),
        influence=float(n.influence[chosen].sum()) / whole if whole else 0.0,
    )
