"""A graph as an outline: from the answer down to the tokens, each part under what uses it.

A part is a supernode, a feature that is in none, a token, the bias, or all errors together. Everything at a position
that stands in front of every prompt is one part too: nothing of it depends on the prompt. A part's share is the
influence that enters it from outside; what goes on from one of its members to another is counted once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from micrographia.graph.graph import Graph, NodeLabel
from micrographia.graph.nodes import Kind
from micrographia.report.words import joined, span

__all__ = ["NEURONS", "Branch", "Outline", "Part", "Said", "outline", "parts_of", "walked"]

NEURONS = "Neurons"
"""The kind of basis, as facts name it, that leaves nothing unexplained: what is missing was only not traced."""

_SAID = 5
_IN_FRONT = "stands in front of every prompt, and is the same whatever follows"
_MISSED = "what the basis does not reproduce, and what was not traced"


@dataclass(frozen=True, slots=True)
class Said:
    """A token that a part promotes, and by how much it changes that logit in all."""

    piece: str
    logit: float


@dataclass(frozen=True, slots=True)
class Part:
    """Nodes that are shown as one."""

    kind: Kind
    name: str
    """A supernode's name, a node's, a token's text."""
    members: tuple[int, ...]
    """Numbers of nodes, the most influential first."""
    share: float
    """The influence that enters it from outside."""
    layers: str
    """`24`, `24–28`; empty where there is none."""
    places: str
    """`10 ␣Tower`, `9–11`; empty where there is none."""
    activation: float
    """Of its most influential member."""
    promotes: tuple[Said, ...]
    label: NodeLabel | None = None
    """Of a single feature of which something is known."""
    reason: str = ""
    """Why its members are together; empty for a single node."""

    @property
    def called(self) -> str:
        """`“␣years” .93`, with ≠ where it does something else here; the kind where no name is earned."""
        if self.label is None or not self.label.text:
            return "" if self.label is None else self.label.kind
        score = "" if self.label.score is None else f" {self.label.score:.2f}".replace("0.", ".", 1)
        return f"“{self.label.text}”{score}{' ≠' if self.label.agrees is False else ''}"


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of the outline."""

    part: Part
    children: tuple["Branch", ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """The whole tree, and what of it is left out."""

    root: Branch
    """The answer: all targets together."""
    n_parts: int
    """Parts that there are, the answer not counted."""
    n_shown: int
    hidden_share: float
    """The sum of the shares of the parts that are not shown; several may lie on one way."""


def outline(graph: Graph, at_most: int | None = None) -> Outline:
    """The tree of a graph, with its most influential parts and all that lie above them."""
    parts = parts_of(graph)
    parents = _parents(graph, parts)
    order = sorted(range(1, len(parts)), key=lambda i: (-parts[i].share, i))
    shown = {0}
    for number in order[:at_most]:
        shown |= _upwards(number, parents)
    children: dict[int, list[int]] = {}
    for number in sorted(order, key=lambda i: _says_little(graph, parts[i])):
        if number in shown:
            children.setdefault(parents[number], []).append(number)
    hidden = [parts[i].share for i in range(1, len(parts)) if i not in shown]
    return Outline(_grown(0, parts, children), len(parts) - 1, len(shown) - 1, sum(hidden, 0.0))


def _says_little(graph: Graph, part: Part) -> bool:
    """What has the same share in many prompts comes behind what is about this one."""
    n, first = graph.nodes, part.members[0]
    return part.kind in (Kind.ERROR, Kind.BIAS) or bool(0 <= n.position[first] < graph.prompt.prepended)


def _upwards(number: int, parents: Sequence[int]) -> set[int]:
    """A part and all that lie between it and the answer."""
    way = {number}
    while number:
        number = parents[number]
        way.add(number)
    return way


def _grown(number: int, parts: Sequence[Part], children: dict[int, list[int]]) -> Branch:
    return Branch(parts[number], tuple(_grown(child, parts, children) for child in children.get(number, ())))


def walked(branch: Branch, prefix: str = "", below: str = "") -> Iterator[tuple[Branch, str]]:
    """Every line of a tree, with what stands in front of it where trees are drawn in text."""
    yield branch, prefix
    for number, child in enumerate(branch.children):
        last = number == len(branch.children) - 1
        yield from walked(child, below + ("└ " if last else "├ "), below + ("  " if last else "│ "))


# ---------------------------------------------------------------- parts


@dataclass(frozen=True, slots=True)
class _Members:
    """Numbers of nodes that belong together, with a name and a reason where there are such."""

    nodes: tuple[int, ...]
    name: str = ""
    reason: str = ""


def parts_of(graph: Graph) -> tuple[Part, ...]:
    """Every node in exactly one part; the first part is the answer. A bias of no influence is in none."""
    members = _members(graph)
    e, of = graph.edges, _part_of(graph, [each.nodes for each in members])
    inside = of[e.source] == of[e.target]
    within = np.bincount(of[e.target[inside]], e.score[inside], minlength=len(members))
    return tuple(_part(graph, each, float(flow)) for each, flow in zip(members, within, strict=True))


def _members(graph: Graph) -> list[_Members]:
    """Which nodes belong together; targets first."""
    n, taken = graph.nodes, set[int]()
    found: list[_Members] = []

    def put(nodes: Iterable[int], name: str = "", reason: str = "") -> None:
        inside = tuple(sorted(set(nodes) - taken, key=lambda node: (-n.influence[node], node)))
        taken.update(inside)
        if inside:
            found.append(_Members(inside, name, reason))

    put(np.flatnonzero(n.kind == Kind.TARGET).tolist())
    for position in range(graph.prompt.prepended):
        there = (n.position == position) & ((n.kind == Kind.FEATURE) | (n.kind == Kind.TOKEN))
        put(np.flatnonzero(there).tolist(), graph.prompt.pieces[position], _IN_FRONT)
    for group in graph.supernodes:
        put([n.find(member) for member in group.members], group.name, group.reason)
    for node in np.flatnonzero((n.kind == Kind.FEATURE) | (n.kind == Kind.TOKEN)).tolist():
        put([node])
    put(np.flatnonzero(n.kind == Kind.ERROR).tolist(), reason=_MISSED)
    put(np.flatnonzero((n.kind == Kind.BIAS) & (n.influence > 0)).tolist())
    return found


def _part_of(graph: Graph, members: Iterable[Iterable[int]]) -> Int64[np.ndarray, " node"]:
    """The number of the part that each node is in."""
    of = np.zeros(len(graph.nodes), dtype=np.int64)
    for number, nodes in enumerate(members):
        of[list(nodes)] = number
    return of


def _part(graph: Graph, each: _Members, inside: float) -> Part:
    n, nodes = graph.nodes, np.array(each.nodes)
    first = each.nodes[0]
    kind = Kind(max(n.kind[nodes].tolist()))
    is_answer = kind == Kind.TARGET
    return Part(
        kind=kind,
        name=each.name or _name(graph, nodes, kind),
        members=each.nodes,
        share=1.0 if is_answer else max(float(n.influence[nodes].sum()) - inside, 0.0),
        layers=_between(n.layer[nodes]),
        places=_places(graph, nodes),
        activation=float(n.activation[first]),
        promotes=_promoted(graph, nodes),
        label=graph.labels.get(graph.nodes.id(first)) if len(nodes) == 1 and kind == Kind.FEATURE else None,
        reason=each.reason if len(nodes) > 1 else "",
    )


def _name(graph: Graph, nodes: Int64[np.ndarray, " member"], kind: Kind) -> str:
    match kind:
        case Kind.TARGET:
            others = len(graph.targets) - 1
            return graph.targets[0].name + (f" and {joined(others, 'other')}" if others else "")
        case Kind.TOKEN:
            return graph.words(int(nodes[0]))
        case Kind.ERROR:
            return "untraced" if graph.facts is not None and graph.facts.basis == NEURONS else "unexplained"
        case Kind.BIAS:
            return "bias"
        case Kind.FEATURE:
            return str(graph.nodes.id(int(nodes[0])))


def _between(numbers: Int64[np.ndarray, " member"]) -> str:
    numbers = numbers[numbers >= 0]
    return span(int(numbers.min()), int(numbers.max())) if len(numbers) else ""


def _places(graph: Graph, nodes: Int64[np.ndarray, " member"]) -> str:
    positions = graph.nodes.position[nodes]
    positions = positions[positions >= 0]
    if not len(positions) or graph.nodes.kind[nodes[0]] == Kind.ERROR:
        return ""
    first, last = int(positions.min()), int(positions.max())
    return f"{first} {graph.prompt.pieces[first]}" if first == last else span(first, last)


def _promoted(graph: Graph, nodes: Int64[np.ndarray, " member"]) -> tuple[Said, ...]:
    """The tokens that the members promote most, all together."""
    says = graph.promoted
    if says is None:
        return ()
    summed: dict[str, float] = {}
    for node in nodes[graph.nodes.kind[nodes] == Kind.FEATURE].tolist():
        for token, logit in zip(says.tokens[node].tolist(), says.logits[node].tolist(), strict=True):
            summed[says.pieces[token]] = summed.get(says.pieces[token], 0.0) + logit
    best = sorted(summed.items(), key=lambda said: (-said[1], said[0]))[:_SAID]
    return tuple(Said(piece, logit) for piece, logit in best)


# ---------------------------------------------------------------- the tree


def _parents(graph: Graph, parts: Sequence[Part]) -> list[int]:
    """For each part, the one of those above it to which most of its influence flows. The answer takes nearly always
    more than any single other, so it is the parent of what gives it more than all others together, of what gives to
    nothing else, and of what is the same everywhere. Above is what ends in a higher layer, so that there is no circle.
    """
    of = _part_of(graph, [part.members for part in parts])
    flow: dict[tuple[int, int], float] = {}
    e = graph.edges
    for source, target, score in zip(of[e.source].tolist(), of[e.target].tolist(), e.score.tolist(), strict=True):
        flow[source, target] = flow.get((source, target), 0.0) + score
    height = [_height(graph, part) for part in parts]
    best: dict[int, tuple[float, int]] = {}
    beside = [0.0] * len(parts)
    for (source, target), score in flow.items():
        if target and height[target] > height[source]:
            best[source] = max(best.get(source, (-1.0, 0)), (score, -target))
            beside[source] += score
    for number in list(best):
        if flow.get((number, 0), 0.0) >= beside[number] or _says_little(graph, parts[number]):
            del best[number]
    return [-best[number][1] if number in best else 0 for number in range(len(parts))]


def _height(graph: Graph, part: Part) -> float:
    """The layer in which a part ends."""
    match part.kind:
        case Kind.TARGET:
            return np.inf
        case Kind.FEATURE:
            return float(graph.nodes.layer[list(part.members)].max())
        case _:
            return -1.0
