"""Two prompts side by side: what differs in them, and which features carry the difference.

Tokens are aligned: equal ones with each other, and what stands between from its end on, for what is read from several
tokens gathers at the last. A *swap* puts some features of A, at aligned places, to the values that they have in B, and
lets the real model run on. What is measured is how far A's answer gives way to B's,

    effect = Δ(logit of B's answer − logit of A's answer)

and how much of the way from A to B that is. The smallest set that flips the answer is looked for greedily: the group
that moves most is added until B's answer is above A's, then what is not needed is taken out again. Where time is
limited, groups are measured in the order of their influence, and half of the time is left to the search.

A set stands beside two kinds of controls: steps as long, at the same places, along features that neither graph shows;
and as many other features of the same places, put to their values in B as well.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import final

import numpy as np

from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.controls import Controls
from micrographia.evidence.interventions import Change, Feature, Free, Intervention, Step
from micrographia.evidence.placing import Placed, place
from micrographia.evidence.rows import run_rows
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind, NodeId
from micrographia.ids import TokenId
from micrographia.model.tokens import Prompt
from micrographia.store import Progress, silent

__all__ = ["Comparison", "Swap", "SwapControls", "align", "compare"]

_BATCH = 32
_TRIED = 40
"""Groups that are tried at each step of the search, those first that move most by themselves."""
_LEAST = 0.1
"""By what part of its larger value a feature differs, if it does."""


@dataclass(frozen=True, slots=True)
class Swap:
    """A group of features of either prompt's graph, and what comes of putting it to B's values in A."""

    name: str
    of: str
    """The prompt in whose graph the group is shown: A or B."""
    members: tuple[NodeId, ...]
    """At A's positions."""
    values: tuple[float, ...]
    """In B."""
    promotes: tuple[str, ...]
    effect: float


@dataclass(frozen=True, slots=True)
class SwapControls:
    """What as large swaps do that are not the one that was found."""

    effects: tuple[float, ...]
    flips: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two prompts, what differs, and what carries the difference."""

    prompts: tuple[Prompt, Prompt]
    answers: tuple[TokenId, TokenId]
    gaps: tuple[float, float]
    """The logit of B's answer less that of A's, in A and in B."""
    aligned: tuple[tuple[int, int], ...]
    """Positions of A and of B."""
    swaps: tuple[Swap, ...]
    """What moves the answer most comes first."""
    unmeasured: int
    """Groups that differ as well, and that there was no time for."""
    whole: float
    """The effect of all of them together."""
    smallest: tuple[Swap, ...]
    """The set that was found; whether it flips the answer says `flips`."""
    ended: bool
    """Whether the search came to its end in the time that it was given."""
    effect: float
    """Of that set."""
    probabilities: tuple[float, float]
    """Of A's and of B's answer under it."""
    random: SwapControls
    """Steps as long, at the same places, along features that neither graph shows."""
    others: SwapControls
    """As many other features of the same places, put to their values in B."""

    @property
    def flips(self) -> bool:
        """Whether B's answer is above A's after the smallest set is swapped."""
        return self.gaps[0] + self.effect > 0

    def share(self, effect: float) -> float:
        """How much of the way from A to B an effect is."""
        return effect / (self.gaps[1] - self.gaps[0])


def align(a: Prompt, b: Prompt) -> tuple[tuple[int, int], ...]:
    """Positions that belong together."""
    pairs: list[tuple[int, int]] = []
    for _, a0, a1, b0, b1 in SequenceMatcher(None, list(a.ids), list(b.ids), autojunk=False).get_opcodes():
        n = min(a1 - a0, b1 - b0)
        pairs += [(a1 - n + i, b1 - n + i) for i in range(n)]
    return tuple(pairs)


def compare(
    bench: tuple[Bench, Bench],
    graphs: tuple[Graph, Graph],
    *,
    layers: tuple[int, int] | None = None,
    most: int = 24,
    controls: int = 40,
    seed: int = 0,
    seconds: float = math.inf,
    progress: Progress = silent,
) -> Comparison:
    """Compare two prompts. Only groups that lie within `layers`, both counted in, are swapped, at most `most` of them
    together. `seconds` is how long groups are measured and the set is looked for; controls come after that."""
    begun = time.perf_counter()
    comparing = _Comparing(bench, graphs, layers, seed)
    differing = comparing.differing()
    if not differing:
        raise CallError("No group of either graph differs between the prompts there, so there is nothing to swap.")
    swaps = comparing.measured(differing, begun + seconds / 2, progress)
    smallest, ended = comparing.smallest(swaps, most, begun + seconds, progress)
    effect, *_ = comparing.effects([smallest])
    return Comparison(
        prompts=(bench[0].prompt, bench[1].prompt),
        answers=comparing.answers,
        gaps=comparing.gaps,
        aligned=comparing.aligned,
        swaps=swaps,
        unmeasured=len(differing) - len(swaps),
        whole=comparing.effects([swaps])[0],
        smallest=tuple(smallest),
        ended=ended,
        effect=effect,
        probabilities=comparing.probabilities(smallest),
        random=comparing.controls(smallest, controls, progress, others=False),
        others=comparing.controls(smallest, controls, progress, others=True),
    )


@final
class _Comparing:
    """Prompt A, on which all is run, and what B has in its place."""

    def __init__(
        self, bench: tuple[Bench, Bench], graphs: tuple[Graph, Graph], layers: tuple[int, int] | None, seed: int
    ) -> None:
        self.a, self.b = bench
        self.graphs = graphs
        self.layers = layers or (0, self.a.n_layers - 1)
        self.seed = seed
        self.aligned = align(self.a.prompt, self.b.prompt)
        ends = [each.logits()[-1].double() for each in bench]
        self.answers = (TokenId(int(ends[0].argmax())), TokenId(int(ends[1].argmax())))
        if self.answers[0] == self.answers[1]:
            raise CallError(
                f"Both prompts are answered with {self.a.piece(self.answers[0])}, so there is no answer to flip."
            )
        if (self.a.n_positions - 1, self.b.n_positions - 1) not in self.aligned:
            raise CallError("The last tokens of the prompts cannot be aligned.")
        one, other = self.answers
        self.gaps = (float(ends[0][other] - ends[0][one]), float(ends[1][other] - ends[1][one]))

    # ------------------------------------------------------------ groups

    def differing(self) -> list[Swap]:
        """Every group of both graphs that differs, the most influential first; a feature is in one, B's before A's."""
        taken, found = set[tuple[int, int, int]](), list[tuple[float, Swap]]()
        to_a = {b: a for a, b in self.aligned}
        for graph, of, where in ((self.graphs[1], "B", to_a), (self.graphs[0], "A", {a: a for a in to_a.values()})):
            for name, members in _groups(graph):
                kept = [
                    (node, value)
                    for member in members
                    if (node := self._here(member, where)) is not None
                    and (value := self._value(node)) is not None
                    and (node.layer or 0, node.position or 0, node.index or 0) not in taken
                ]
                if kept:
                    taken |= {(node.layer or 0, node.position or 0, node.index or 0) for node, _ in kept}
                    nodes, values = zip(*kept, strict=True)
                    influence = sum((graph.node(member).influence for member in members), 0.0)
                    found.append((influence, Swap(name, of, nodes, values, _promoted(graph, members), 0.0)))
        return [swap for _, swap in sorted(found, key=lambda one: -one[0])]

    def measured(self, swaps: Sequence[Swap], until: float, progress: Progress) -> tuple[Swap, ...]:
        """What each does by itself, as far as there is time, and at least a batch; what moves most comes first."""
        found: list[Swap] = []
        while len(found) < len(swaps) and (not found or time.perf_counter() < until):
            batch = swaps[len(found) : len(found) + _BATCH]
            effects = self.effects([[swap] for swap in batch])
            found += [replace(swap, effect=effect) for swap, effect in zip(batch, effects, strict=True)]
            progress("swaps", len(found), len(swaps))
        return tuple(sorted(found, key=lambda swap: -swap.effect))

    def _here(self, node: NodeId, where: dict[int, int]) -> NodeId | None:
        """The same feature at A's position, if it is one that may be swapped."""
        position = where.get(node.position or 0)
        first, last = self.layers
        if position is None or position < self.a.prompt.prepended or not first <= (node.layer or 0) <= last:
            return None
        return NodeId(Kind.FEATURE, node.layer, position, node.index)

    def _value(self, node: NodeId) -> float | None:
        """What a feature is in B, if it differs from what it is in A."""
        layer, position, index = node.layer or 0, node.position or 0, node.index or 0
        there = dict(self.aligned)[position]
        old, new = float(self.a.active(layer)[position, index]), float(self.b.active(layer)[there, index])
        return new if abs(new - old) > _LEAST * max(abs(new), abs(old)) else None

    # ------------------------------------------------------------ runs

    def effects(self, sets: Sequence[Sequence[Swap]]) -> list[float]:
        """How far each set moves A's answer towards B's."""
        return self._moved([self._placed(each) for each in sets])

    def _placed(self, swaps: Sequence[Swap]) -> Placed:
        steps = (
            Step(Feature(node.layer or 0, node.index or 0, node.position or 0), Change("set", value))
            for swap in swaps
            for node, value in zip(swap.members, swap.values, strict=True)
        )
        return place(self.a, Intervention(tuple(steps)), Free())

    def _moved(self, rows: Sequence[Placed], progress: Progress = silent) -> list[float]:
        (one, other), found = self.answers, list[float]()
        for first in range(0, len(rows), _BATCH):
            logits = run_rows(self.a, rows[first : first + _BATCH], Free()).logits.double()
            found += [float(gap) - self.gaps[0] for gap in logits[:, other] - logits[:, one]]
            progress("controls", len(found), len(rows))
        return found

    def probabilities(self, swaps: Sequence[Swap]) -> tuple[float, float]:
        """Of A's and of B's answer, with these swapped."""
        p = run_rows(self.a, [self._placed(swaps)], Free()).logits[0].double().softmax(-1)
        return float(p[self.answers[0]]), float(p[self.answers[1]])

    # ------------------------------------------------------------ the smallest set

    def smallest(
        self, swaps: Sequence[Swap], most: int, until: float, progress: Progress
    ) -> tuple[Sequence[Swap], bool]:
        """Groups added one by one, the one that moves most first, until the answer flips; then thinned out. Whether
        there was time for all of it."""
        chosen, left, reached = list[Swap](), [swap for swap in swaps if swap.effect > 0][:_TRIED], 0.0
        while left and self.gaps[0] + reached <= 0 and len(chosen) < most:
            if time.perf_counter() >= until:
                return chosen or swaps[:1], False
            effects = self.effects([[*chosen, swap] for swap in left])
            best = int(np.argmax(effects))
            if effects[best] <= reached:
                break
            reached = effects[best]
            chosen.append(left.pop(best))
            progress("groups in the set", len(chosen), most)
        if not chosen:
            return swaps[:1], True
        return self._thinned(chosen) if self.gaps[0] + reached > 0 else chosen, True

    def _thinned(self, chosen: list[Swap]) -> list[Swap]:
        """Without those that are not needed, the weakest first."""
        for swap in sorted(chosen, key=lambda each: each.effect):
            without = [each for each in chosen if each is not swap]
            if without and self.gaps[0] + self.effects([without])[0] > 0:
                chosen = without
        return chosen

    # ------------------------------------------------------------ controls

    def controls(self, swaps: Sequence[Swap], n: int, progress: Progress, *, others: bool) -> SwapControls:
        """So many swaps of the same size at the same places."""
        values = {node: value for swap in swaps for node, value in zip(swap.members, swap.values, strict=True)}
        if others:
            drawn = [self._others(list(values), number) for number in range(n)]
            rows = [place(self.a, Intervention(steps), Free()) for steps in drawn if steps]
        else:
            shown = [node for features in self._shown for node in features]
            made = Controls(self.a, list(values), shown=shown, seed=self.seed, values=values)
            rows = [made.placed(number) for number in range(min(n, len(made)))]
        effects = self._moved(rows, progress)
        return SwapControls(tuple(effects), sum(self.gaps[0] + effect > 0 for effect in effects))

    @property
    def _shown(self) -> tuple[tuple[NodeId, ...], ...]:
        """The features of both graphs, at A's positions."""
        to_a = {b: a for a, b in self.aligned}
        mine = tuple(node for node in self.graphs[0].nodes if node.kind == Kind.FEATURE)
        theirs = tuple(
            NodeId(Kind.FEATURE, node.layer, to_a[node.position], node.index)
            for node in self.graphs[1].nodes
            if node.kind == Kind.FEATURE and node.position in to_a
        )
        return mine, theirs

    def _others(self, members: Sequence[NodeId], number: int) -> tuple[Step, ...]:
        """As many other features of each place, drawn among those that differ there, with their values in B."""
        drawn = np.random.default_rng([self.seed, number])
        there, steps = dict(self.aligned), list[Step]()
        places: dict[tuple[int, int], list[int]] = {}
        for node in members:
            places.setdefault((node.layer or 0, node.position or 0), []).append(node.index or 0)
        for (layer, position), taken in sorted(places.items()):
            old, new = self.a.active(layer)[position], self.b.active(layer)[there[position]]
            differs = (new - old).abs() > _LEAST * new.abs().maximum(old.abs())
            pool = np.setdiff1d(np.flatnonzero(differs.cpu().numpy()), taken)
            for index in drawn.permutation(pool)[: len(taken)].tolist():
                steps.append(Step(Feature(layer, index, position), Change("set", float(new[index]))))
        return tuple(steps)


def _groups(graph: Graph) -> list[tuple[str, tuple[NodeId, ...]]]:
    """The supernodes, and every feature that is in none."""
    grouped = {member for group in graph.supernodes for member in group.members}
    alone = [(str(node), (node,)) for node in graph.nodes if node.kind == Kind.FEATURE and node not in grouped]
    groups = [(group.name, tuple(m for m in group.members if m.kind == Kind.FEATURE)) for group in graph.supernodes]
    return [*(group for group in groups if group[1]), *alone]


def _promoted(graph: Graph, members: Sequence[NodeId]) -> tuple[str, ...]:
    """The tokens that the members promote most, all together."""
    summed: dict[str, float] = {}
    for member in members:
        for piece, logit in graph.node(member).promotes:
            summed[piece] = summed.get(piece, 0.0) + logit
    return tuple(sorted(summed, key=lambda piece: -summed[piece])[:5])
