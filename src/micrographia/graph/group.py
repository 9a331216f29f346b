"""Supernodes: features that say the same, said once.

Two features belong together if they are active at the same position, push the answer the same way, and resemble each
other: in their edges (cosines of what they get their input from and of what they feed, weighted by influence) and,
where the basis is at hand, in their vectors (cosines of what they read and of what they write). What counts as alike
is measured: more than pairs of features at *different* positions of the same graph are. Groups grow by complete
linkage, so all members resemble each other. Nothing is drawn by chance; every group says why it is one; groups that a
person made are kept and come first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64

from micrographia.errors import CallError
from micrographia.graph.flow import influence
from micrographia.graph.graph import Graph, Supernode
from micrographia.graph.nodes import Kind, NodeId
from micrographia.graph.promoted import Directions

__all__ = ["DEFAULT_LIKENESS", "Likeness", "SuperEdge", "group", "likeness", "push", "super_edges"]

DEFAULT_LIKENESS = 0.98
"""Of all pairs at different positions, how many are less alike than any two members of a group."""

_SAID = 2
_NAME_LENGTH = 24


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Likeness:
    """How much each pair of a graph's features resembles each other: cosines by every measure that is at hand, and what
    they are at different positions."""

    cosines: Mapping[str, Float64[np.ndarray, "feature feature"]]
    control: Mapping[str, Float64[np.ndarray, " pair"]]
    """The same cosines of all pairs at different positions that are not one feature twice, in ascending order."""

    def __repr__(self) -> str:
        return f"<Likeness by {', '.join(self.cosines)}>"

    def rank(self) -> Float64[np.ndarray, "feature feature"]:
        """The share of control pairs that are less alike, by the measure in which a pair is least alike; where there is
        nothing to compare with, the cosine itself."""
        ranks = [
            np.searchsorted(control, self.cosines[name]) / len(control) if len(control) else self.cosines[name]
            for name, control in self.control.items()
        ]
        return np.minimum.reduce(ranks)


@dataclass(frozen=True, slots=True)
class SuperEdge:
    """What one group, or node by itself, adds to another."""

    source: str
    target: str
    share: float
    """Signed: the sum of the edges between members, as a share of all that the target's members get from outside of
    their group; members weigh by their importance."""


def group(
    graph: Graph,
    directions: Directions | None = None,
    *,
    mine: Mapping[str, Iterable[str | NodeId]] | None = None,
    least: float = DEFAULT_LIKENESS,
) -> Graph:
    """The graph with its supernodes: those of `mine`, those that a person made before, and what else is found."""
    if not 0 < least <= 1:
        raise CallError(f"Members of a group are alike by more than 0 and at most 1, not by {least}.")
    wanted = _named(graph, mine or {})
    taken = {member for each in wanted for member in each.members}
    for each in graph.supernodes:
        left = tuple(member for member in each.members if member not in taken)
        if each.by == "user" and left and each.name not in {new.name for new in wanted}:
            wanted.append(Supernode(each.name, left, each.reason, each.by))
            taken.update(left)
    alike = likeness(graph, directions)
    pushes = push(graph)
    found = [_described(graph, members, alike, pushes) for members in _clusters(graph, alike, pushes, taken, least)]
    return graph.grouped([*wanted, *_distinct(found, {each.name for each in wanted})])


def push(graph: Graph) -> Float64[np.ndarray, " node"]:
    """Every node's signed effect on the targets: like its influence, but with what cancels taken against each other.

    More of a feature whose pre-activation is negative is less of it, so its inputs count the other way.
    """
    n, e = graph.nodes, graph.edges
    feature, target = n.spans["feature"], n.spans["target"]
    turned = np.where(n.total[e.target] < 0, -1.0, 1.0) * (n.kind[e.target] == Kind.FEATURE)
    turned += n.kind[e.target] == Kind.TARGET
    rows = torch.zeros(feature.stop + len(graph.targets), target.start, dtype=torch.float64)
    row = np.where(e.target < feature.stop, e.target, e.target - target.start + feature.stop)
    rows[torch.from_numpy(row), torch.from_numpy(e.source.copy())] = torch.from_numpy(
        np.sign(e.weight) * e.share * turned
    )
    weights = torch.tensor([each.weight for each in graph.targets], dtype=torch.float64)
    return np.concatenate([influence(rows, weights).numpy(), np.zeros(len(n) - target.start)])


def likeness(graph: Graph, directions: Directions | None = None) -> Likeness:
    """How much the features of a graph resemble each other."""
    n, e, count = graph.nodes, graph.edges, graph.nodes.spans["feature"].stop
    inputs, outputs = np.zeros((count, len(n))), np.zeros((count, len(n)))
    to, of = e.target < count, e.source < count
    inputs[e.target[to], e.source[to]] = np.sign(e.weight[to]) * e.share[to] * n.influence[e.source[to]]
    outputs[e.source[of], e.target[of]] = np.sign(e.weight[of]) * e.score[of]
    cosines = {"edges": (_cosines(inputs) + _cosines(outputs)) / 2}
    if directions is not None:
        active = np.sign(n.activation[:count])[:, None]
        reads, writes = (active * part.double().cpu().numpy() for part in (directions.reads, directions.writes))
        cosines["vectors"] = (_cosines(reads) + _cosines(writes)) / 2
    layer, position, index = (column[:count] for column in (n.layer, n.position, n.index))
    twice = (layer[:, None] == layer) & (index[:, None] == index)
    apart = np.triu((position[:, None] != position) & ~twice)
    return Likeness(cosines, {name: np.sort(part[apart]) for name, part in cosines.items()})


def super_edges(graph: Graph) -> tuple[SuperEdge, ...]:
    """The graph between its groups and what is in none, heaviest first."""
    n, e = graph.nodes, graph.edges
    names, of = _parts(graph)
    source, target = of[e.source], of[e.target]
    inner = source == target
    outside = np.nan_to_num(n.inputs) - np.bincount(e.target[inner], np.abs(e.weight[inner]), len(n))
    importance = n.influence.copy()
    importance[n.spans["target"]] = [each.weight for each in graph.targets]
    fed = np.isin(np.arange(len(n)), e.target)
    whole = np.bincount(of[fed], importance[fed], len(names))
    usable = ~inner & (outside[e.target] > 0) & (whole[target] > 0)
    part = importance[e.target[usable]] / whole[target[usable]] * e.weight[usable] / outside[e.target[usable]]
    pairs, which = np.unique(target[usable] * len(names) + source[usable], return_inverse=True)
    shares = np.bincount(which, part, len(pairs))
    found = [
        SuperEdge(names[int(pair) % len(names)], names[int(pair) // len(names)], float(share))
        for pair, share in zip(pairs, shares, strict=True)
    ]
    return tuple(sorted(found, key=lambda each: -abs(each.share)))


# ---------------------------------------------------------------- finding


def _clusters(
    graph: Graph, alike: Likeness, pushes: Float64[np.ndarray, " node"], taken: set[NodeId], least: float
) -> list[Int64[np.ndarray, " member"]]:
    """Sets of at least two features, the most influential set first."""
    n, count = graph.nodes, graph.nodes.spans["feature"].stop
    free = np.array([n.id(i) not in taken for i in range(count)], dtype=bool)
    signs, ranks = np.sign(pushes[:count]), alike.rank()
    found: list[Int64[np.ndarray, " member"]] = []
    for position in np.unique(n.position[:count]):
        for sign in (1, -1):
            here = np.flatnonzero(free & (n.position[:count] == position) & (signs == sign))
            found += [here[members] for members in _linked(ranks[np.ix_(here, here)], least)]
    return sorted(found, key=lambda members: -float(n.influence[members].sum()))


def _linked(similarity: Float64[np.ndarray, "node node"], least: float) -> list[Int64[np.ndarray, " member"]]:
    """Complete linkage: join the two sets whose least similar members are most alike, while they are alike enough."""
    sets = [[i] for i in range(len(similarity))]
    between = similarity.copy()
    np.fill_diagonal(between, -np.inf)
    while len(sets) > 1:
        first, second = sorted(divmod(int(between.argmax()), len(sets)))
        if between[first, second] < least:
            break
        sets[first] += sets.pop(second)
        nearest = np.minimum(between[first], between[second])
        between[first], between[:, first] = nearest, nearest
        between[first, first] = -np.inf
        between = np.delete(np.delete(between, second, 0), second, 1)
    return [np.array(sorted(members)) for members in sets if len(members) > 1]


def _cosines(rows: Float64[np.ndarray, "feature column"]) -> Float64[np.ndarray, "feature feature"]:
    """Of each pair of rows; a row of nothing resembles none."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return unit @ unit.T


# ---------------------------------------------------------------- describing


def _named(graph: Graph, mine: Mapping[str, Iterable[str | NodeId]]) -> list[Supernode]:
    return [
        Supernode(name, tuple(graph.nodes.id(graph.nodes.find(member)) for member in members), "asked for", "user")
        for name, members in mine.items()
    ]


def _described(
    graph: Graph, members: Int64[np.ndarray, " member"], alike: Likeness, pushes: Float64[np.ndarray, " node"]
) -> Supernode:
    n = graph.nodes
    position = int(n.position[members[0]])
    layers = sorted(set(n.layer[members].tolist()))
    pairs = np.ix_(members, members)
    other = ~np.eye(len(members), dtype=bool)
    where = f"{graph.prompt.pieces[position]}@{position}"
    span = f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]}–{layers[-1]}"
    way = "for" if pushes[members[0]] > 0 else "against"
    measured = "; ".join(
        f"cosine of their {name} {part[pairs][other].mean():.2f} (elsewhere {_mean(alike.control[name]):.2f})"
        for name, part in alike.cosines.items()
    )
    reason = f"{len(members)} features of {span} at {where}, all {way} what is explained; mean {measured}"
    name = _says(graph, members) or span
    return Supernode(_short(name, f"@{position}"), tuple(n.id(int(i)) for i in members), reason)


def _mean(values: Float64[np.ndarray, " value"]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _short(name: str, place: str) -> str:
    """Not longer than a column of a table."""
    room = _NAME_LENGTH - len(place)
    return (name if len(name) <= room else name[: room - 1] + "…") + place


def _says(graph: Graph, members: Int64[np.ndarray, " member"]) -> str:
    """The tokens that the members promote together, each member by its influence."""
    if (p := graph.promoted) is None:
        return ""
    weight = graph.nodes.influence[members][:, None] * np.maximum(p.logits[members], 0)
    tokens, which = np.unique(p.tokens[members], return_inverse=True)
    votes = np.bincount(which.ravel(), weight.ravel(), len(tokens))
    best = tokens[np.argsort(-votes, kind="stable")[:_SAID]]
    return " ".join(p.pieces[int(token)] for token in best)


def _distinct(found: Sequence[Supernode], names: set[str]) -> list[Supernode]:
    """With names that occur once: a second one of a name is numbered."""
    made: list[Supernode] = []
    for each in found:
        name, number = each.name, 2
        while name in names:
            name, number = f"{each.name} #{number}", number + 1
        names.add(name)
        made.append(Supernode(name, each.members, each.reason, each.by))
    return made


def _parts(graph: Graph) -> tuple[list[str], Int64[np.ndarray, " node"]]:
    """The names of groups and of nodes that are in none, and which of them each node is in."""
    names = [each.name for each in graph.supernodes]
    of = np.full(len(graph.nodes), -1)
    for number, each in enumerate(graph.supernodes):
        of[[graph.nodes.find(member) for member in each.members]] = number
    alone = np.flatnonzero(of < 0)
    of[alone] = len(names) + np.arange(len(alone))
    return [*names, *(str(graph.nodes.id(int(i))) for i in alone)], of
