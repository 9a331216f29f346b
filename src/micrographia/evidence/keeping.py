"""Is a circuit enough, and is it needed: keep nothing but some features, or take away nothing but them.

Outside of what is kept, every MLP says what it says elsewhere: on the mean of other prompts, or on one of them
(*resample*), aligned at the end. Kept features are read anew from what they then get, and attention is computed anew:

    keep      y = ȳ + Σ (f(x) − f̄) · w     over the features that are kept
    remove    y = MLP(x) + Σ (f̄ − f(x)) · w     over the features that are removed

Measured is the answer's logit less the runner-up's, as a part of the way from nothing kept (0) to the whole model (1);
for removal, the part that is lost. Circuits are the features of a graph in the order of their influence; beside each
stand random ones of equal size, with as many active features at the same layers and positions. Tokens in front of every
prompt stay as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.errors import CallError, UnsupportedError
from micrographia.evidence.bench import Bench
from micrographia.evidence.claims import of_this_prompt
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import NodeId
from micrographia.ids import Layer
from micrographia.model.batch import Batch
from micrographia.model.forward import onward, unembed
from micrographia.model.hooks import Editor, Gate, Hooks
from micrographia.model.site import Point, Site
from micrographia.store import Progress, silent

__all__ = ["REFERENCES", "SIZES", "Ablation", "Curve", "CurvePoint", "circuit_curve"]

Ablation: TypeAlias = Literal["mean", "resample"]

REFERENCES = (
    "The weather in the mountains changes quickly, so it is wise to carry a warm",
    "She opened the old box and found a letter that her grandmother had",
    "The committee will meet on Tuesday to discuss the budget for the next",
    "To bake good bread you need flour, water, salt, yeast and a little",
    "Most of the students had already left the library when the lights went",
    "The train was late again, and nobody on the platform knew the reason",
)
"""Prompts that are about something else."""

SIZES = (10, 30, 100, 300)
_RANDOM = 5
_RESAMPLED = 3
_BATCH = 12


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A circuit of one size, and random ones beside it."""

    size: int
    kept: float
    """The part of the answer that it keeps."""
    random_kept: tuple[float, ...]
    lost: float
    """The part that goes with it."""
    random_lost: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """All sizes, for one way to ablate."""

    ablation: Ablation
    clean: float
    """The answer's logit less the runner-up's."""
    empty: float
    """With nothing kept, on the mean of the references."""
    points: tuple[CurvePoint, ...]


def circuit_curve(
    bench: Bench,
    graph: Graph,
    references: Sequence[Bench],
    *,
    ablation: Ablation = "mean",
    sizes: Sequence[int] = SIZES,
    seed: int = 0,
    progress: Progress = silent,
) -> Curve:
    """The curve over the size of the circuit; its last point holds all features that the graph shows."""
    if not references:
        raise CallError("Without other prompts there is nothing to put in place of what is taken away.")
    mine = of_this_prompt(graph, range(graph.nodes.spans["feature"].stop))
    if not mine:
        raise CallError("This graph shows no feature of the prompt, so there is no circuit to keep.")
    order = sorted(mine, key=lambda i: -float(graph.nodes.influence[i]))
    counts = [*(size for size in sorted(set(sizes)) if size < len(order)), len(order)]
    keeping = _Keeping(bench, references, ablation)
    drawn = np.random.default_rng(seed)
    sets: list[list[NodeId]] = [[]]
    for size in counts:
        circuit = [graph.nodes.id(i) for i in order[:size]]
        sets += [circuit, *(_random(bench, circuit, drawn) for _ in range(_RANDOM))]
    kept, lost = (keeping.measured(sets, remove=remove, progress=progress) for remove in (False, True))
    clean, empty = keeping.clean, kept[0]
    if abs(clean - empty) < 1e-6:
        raise CallError("With nothing kept the answer is the same, so there is no part of it to keep.")
    points: list[CurvePoint] = []
    for number, size in enumerate(counts):
        first = 1 + number * (1 + _RANDOM)
        some = [(value - empty) / (clean - empty) for value in kept[first : first + 1 + _RANDOM]]
        gone = [(clean - value) / (clean - empty) for value in lost[first : first + 1 + _RANDOM]]
        points.append(CurvePoint(size, some[0], tuple(some[1:]), gone[0], tuple(gone[1:])))
    return Curve(ablation, clean, empty, tuple(points))


def _random(bench: Bench, circuit: Sequence[NodeId], drawn: np.random.Generator) -> list[NodeId]:
    """As many active features at each of the circuit's places, none of them in it as far as there are others."""
    places: dict[tuple[int, int], list[int]] = {}
    for node in circuit:
        places.setdefault((node.layer or 0, node.position or 0), []).append(node.index or 0)
    found: list[NodeId] = []
    for (layer, position), taken in places.items():
        active = np.flatnonzero(bench.active(layer)[position].cpu().numpy())
        others = drawn.permutation(np.setdiff1d(active, taken))[: len(taken)]
        found += [NodeId(circuit[0].kind, layer, position, int(index)) for index in others]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """Features of one layer in a batch of rows."""

    row: Int[Tensor, " kept"]
    position: Int[Tensor, " kept"]
    feature: Int[Tensor, " kept"]


@dataclass(frozen=True, slots=True, eq=False)
class _Elsewhere:
    """What a layer says and its features are on other prompts, at this prompt's positions."""

    out: Float[Tensor, "pos d_model"]
    active: Float[Tensor, "pos feature"]


@final
class _Keeping:
    """One prompt, with what its MLPs say elsewhere."""

    def __init__(self, bench: Bench, references: Sequence[Bench], ablation: Ablation) -> None:
        self.bench = bench
        chosen = list(references)[: None if ablation == "mean" else _RESAMPLED]
        self._elsewhere = [self._mean(chosen)] if ablation == "mean" else [self._one(other) for other in chosen]
        best = bench.logits()[-1].topk(2).indices
        self._tokens = (int(best[0]), int(best[1]))
        self.clean = float(self._difference(bench.logits()[-1:])[0])

    def _difference(self, logits: Float[Tensor, "row d_vocab"]) -> Float[Tensor, " row"]:
        one, other = self._tokens
        return logits[:, one].double() - logits[:, other].double()

    def _mean(self, references: Sequence[Bench]) -> list[_Elsewhere]:
        """The mean over all tokens of the references."""
        n, found = self.bench.n_positions, list[_Elsewhere]()
        for layer in range(self.bench.n_layers):
            out = torch.cat([other.clean(Point.MLP_OUT, layer)[other.prompt.prepended :] for other in references])
            active = torch.cat([other.active(layer)[other.prompt.prepended :] for other in references])
            found.append(self._in_front(layer, out.mean(0).repeat(n, 1), active.mean(0).repeat(n, 1)))
        return found

    def _one(self, other: Bench) -> list[_Elsewhere]:
        """Another prompt, aligned at its end; in front of its first token, that one again."""
        n, found = self.bench.n_positions, list[_Elsewhere]()
        at = [max(other.n_positions - n + i, other.prompt.prepended) for i in range(n)]
        for layer in range(self.bench.n_layers):
            found.append(self._in_front(layer, other.clean(Point.MLP_OUT, layer)[at], other.active(layer)[at]))
        return found

    def _in_front(
        self, layer: int, out: Float[Tensor, "pos d_model"], active: Float[Tensor, "pos feature"]
    ) -> _Elsewhere:
        """What stands in front of every prompt stays as it is."""
        first, out, active = self.bench.prompt.prepended, out.clone(), active.clone()
        out[:first] = self.bench.clean(Point.MLP_OUT, layer)[:first]
        active[:first] = self.bench.active(layer)[:first]
        return _Elsewhere(out, active)

    @torch.no_grad()
    def measured(self, sets: Sequence[Sequence[NodeId]], *, remove: bool, progress: Progress) -> list[float]:
        """The difference of logits under each set, on the mean of the references."""
        found: list[float] = []
        for first in range(0, len(sets), _BATCH):
            part = sets[first : first + _BATCH]
            each = [self._run(part, elsewhere, remove=remove) for elsewhere in self._elsewhere]
            found += torch.stack(each).mean(0).tolist()
            progress("circuits removed" if remove else "circuits kept", len(found), len(sets))
        return found

    def _run(
        self, sets: Sequence[Sequence[NodeId]], elsewhere: Sequence[_Elsewhere], *, remove: bool
    ) -> Float[Tensor, " row"]:
        bench, n = self.bench, self.bench.n_positions
        device = bench.model.device
        ids = torch.tensor([bench.prompt.ids] * len(sets), device=device)
        lengths = torch.full((len(sets),), n, device=device)
        batch = Batch(ids=ids, real=None, positions=torch.arange(n, device=device).expand(ids.shape), lengths=lengths)
        editing = _Editing(bench, elsewhere, _placed(sets, bench.n_layers, device), remove)
        gate = Gate(Hooks({}, editing.editors()))
        weights, anatomy = bench.model.weights, bench.model.anatomy
        x = onward(weights, anatomy, batch, gate, bench.frozen.residuals[0].repeat(len(sets), 1, 1), layer=0)
        return self._difference(unembed(weights, anatomy, x[:, -1:], gate)[:, 0])


def _placed(sets: Sequence[Sequence[NodeId]], n_layers: int, device: torch.device) -> list[_Kept]:
    found: list[list[tuple[int, int, int]]] = [[] for _ in range(n_layers)]
    for row, nodes in enumerate(sets):
        for node in nodes:
            found[node.layer or 0].append((row, node.position or 0, node.index or 0))
    tables = [torch.tensor(places, dtype=torch.long, device=device).reshape(-1, 3) for places in found]
    return [_Kept(table[:, 0], table[:, 1], table[:, 2]) for table in tables]


class _Editing:
    """The editors that keep or remove features, row by row."""

    def __init__(self, bench: Bench, elsewhere: Sequence[_Elsewhere], kept: Sequence[_Kept], remove: bool) -> None:
        self.bench = bench
        self.elsewhere = elsewhere
        self.kept = kept
        self.remove = remove
        self._now: dict[int, Tensor] = {}
        self._moved: dict[int, Tensor] = {}

    def editors(self) -> Mapping[Site, Sequence[Editor]]:
        found: dict[Site, Sequence[Editor]] = {}
        for layer in range(self.bench.n_layers):
            found[Site(Point.MLP_IN, Layer(layer))] = [partial(self._look, layer)]
            found[Site(Point.MLP_OUT, Layer(layer))] = [partial(self._put, layer)]
        return found

    def _look(self, layer: int, act: Tensor, site: Site, /) -> Tensor:
        kept = self.kept[layer]
        if len(kept.row):
            encode = self.bench.encoder(layer)
            if encode is None:
                raise UnsupportedError(f"The basis leaves out layer {layer}, so that nothing can be kept there.")
            now = encode(act[kept.row, kept.position])
            every = torch.arange(len(kept.row), device=act.device)
            moved = now[every, kept.feature] - self.elsewhere[layer].active[kept.position, kept.feature]
            self._moved[layer] = -moved if self.remove else moved
        return act

    def _put(self, layer: int, act: Tensor, site: Site, /) -> Tensor:
        first = self.bench.prompt.prepended
        new = act.clone() if self.remove else self.elsewhere[layer].out.repeat(len(act), 1, 1).to(act)
        new[:, :first] = act[:, :first]
        for source, moved in self._moved.items():
            term, kept = self.bench.found.layers[source].writes.get(Layer(layer)), self.kept[source]
            if term is not None:
                wrote = moved[:, None] * term.rows[kept.feature]
                wrote = wrote if term.scale is None else wrote / term.scale[kept.position]
                new.index_put_((kept.row, kept.position), wrote.to(new), accumulate=True)
        return new
