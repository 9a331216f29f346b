"""How faithful a graph and its basis are to the model, by three experiments whose published figures are known.

1. **Influence against ablation.** Features are taken out one by one; how far the answers' distribution moves (KL) is
   compared with the feature's influence in the graph, log against log, beside two simpler guesses: the edge that leads
   straight to the target, and the activation.
2. **Feature to feature.** While a feature is out, the features behind it are read. How far each changes is compared, by
   ranks, with what the graph says by all paths; beside it, by the direct edge alone.
3. **Perturb and propagate.** The same feature is taken out of the model and of the replacement model, in which every
   MLP is its features. Behind each further layer, the two changes of the residual stream are compared: cosine, and
   squared error over squared length. Beside it stands the change as it was at first, as if nothing answered to it.

Published, by Ameisen and others in 2025 for cross-layer transcoders of an 18-layer model, are the figures in `PAPER`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.claims import Predictor, of_this_prompt
from micrographia.evidence.evidence import correlation, ranks
from micrographia.evidence.interventions import Free, Iterative, Mode, ablate
from micrographia.evidence.placing import Placed, place
from micrographia.evidence.rows import Outcome, run_rows
from micrographia.evidence.testing import check_origin
from micrographia.evidence.verdicts import band
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import NodeId
from micrographia.model.site import Point
from micrographia.store import Progress, silent

__all__ = ["FEWEST_FEATURES", "PAPER", "Audit", "Depth", "Estimate", "audit"]

FEWEST_FEATURES = 12
"""Features without which nothing is said."""
PAPER = {"feature to feature, ranks": 0.72, "one layer on, cosine": 0.8, "one layer on, error": 0.4}
_BATCH = 24
_DRAWS = 500
_PAIRS = 40
"""Features behind each source that are read, those first that the graph says change most, and as many others."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % bootstrap interval, over the features that were taken out."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Depth:
    """So many layers behind what was taken out."""

    depth: int
    cosine: Estimate
    error: Estimate
    unanswered: Estimate
    """The cosine of the model's change with what it was at first."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What the three experiments found on one graph."""

    influence: Estimate
    """1: correlation of log KL with log influence,"""
    edge: Estimate | None
    """… with the log of the direct edge to the target, where there is one,"""
    activation: Estimate
    """… and with the log of what the feature writes."""
    paths: Estimate
    """2: correlation of ranks with what the graph says by all paths,"""
    direct: Estimate
    """… and by the direct edge alone."""
    depths: tuple[Depth, ...]
    """3, for each depth."""


@torch.no_grad()
def audit(
    bench: Bench, graph: Graph, *, features: int = 96, depths: int = 8, seed: int = 0, progress: Progress = silent
) -> Audit:
    """Run the three experiments with so many of a graph's features: half of them the strongest, half drawn."""
    check_origin(bench, graph)
    chosen = _chosen(graph, features, seed)
    kl, pairs = _ablated(bench, graph, chosen, seed, progress)
    n, target = graph.nodes, graph.nodes.spans["target"].start
    edges = {int(e): abs(float(w)) for e, w in _into(graph, target)}
    wrote = [abs(float(n.activation[i])) * _write_length(bench, n.id(i)) for i in chosen]
    linked = [k for k, i in enumerate(chosen) if edges.get(i)]
    return Audit(
        influence=_log_log(n.influence[chosen], kl),
        edge=_log_log(np.array([edges[chosen[k]] for k in linked]), kl[linked]) if len(linked) >= 3 else None,
        activation=_log_log(np.array(wrote), kl),
        paths=_ranked([(said, found) for said, _, found in pairs]),
        direct=_ranked([(straight, found) for _, straight, found in pairs]),
        depths=tuple(_propagated(bench, graph, chosen, depths, progress)),
    )


def _chosen(graph: Graph, count: int, seed: int) -> list[int]:
    n = graph.nodes
    mine = np.array(of_this_prompt(graph, range(n.spans["feature"].stop)))
    if len(mine) < FEWEST_FEATURES:
        raise CallError(f"This graph shows {len(mine)} features of the prompt; an audit needs {FEWEST_FEATURES}.")
    order = mine[np.argsort(-n.influence[mine], kind="stable")]
    rest = np.random.default_rng(seed).permutation(order[count // 2 :])
    return sorted([*order[: count // 2].tolist(), *rest[: count - count // 2].tolist()])


def _batches(bench: Bench, graph: Graph, chosen: Sequence[int], mode: Mode) -> Iterator[tuple[list[int], list[Placed]]]:
    """Features of near places together, which leaves more of the clean run to be shared."""
    order = sorted(chosen, key=lambda i: (int(graph.nodes.layer[i]), int(graph.nodes.position[i])))
    for first in range(0, len(order), _BATCH):
        part = order[first : first + _BATCH]
        yield part, [place(bench, ablate([graph.nodes.id(i)]), mode) for i in part]


# ---------------------------------------------------------------- 1 and 2


def _ablated(
    bench: Bench, graph: Graph, chosen: Sequence[int], seed: int, progress: Progress
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """KL of each ablation; and for each, what the graph says of the features behind by all paths and directly, and what
    they do."""
    predictor = Predictor(graph, f"target.{graph.nodes.index[graph.nodes.spans['target'].start]}")
    clean = bench.logits()[-1].double().log_softmax(-1)
    kl, pairs = dict[int, float](), list[tuple[np.ndarray, np.ndarray, np.ndarray]]()
    for part, rows in _batches(bench, graph, chosen, Free()):
        found = run_rows(bench, rows, Free(), read=range(bench.n_layers))
        after = found.logits.double().log_softmax(-1)
        for row, i in enumerate(part):
            kl[i] = float((clean.exp() * (clean - after[row])).sum())
            members = np.array([i])
            said, straight = predictor.gains(members).numpy(), predictor.direct_gains(members).numpy()
            behind = _behind(graph, i, said, seed)
            if len(behind):
                moved = np.array([_moved(bench, found, row, graph.nodes.id(t)) for t in behind.tolist()])
                pairs.append((np.abs(said[behind]), np.abs(straight[behind]), np.abs(moved)))
        progress("features taken out", len(kl), len(chosen))
    return np.array([kl[i] for i in chosen]), pairs


def _behind(graph: Graph, source: int, said: np.ndarray, seed: int) -> np.ndarray:
    """Features that could feel a source: half of them those that are said to change most, half drawn."""
    n = graph.nodes
    count = n.spans["feature"].stop
    later = np.flatnonzero((n.layer[:count] > n.layer[source]) & (n.position[:count] >= n.position[source]))
    order = later[np.argsort(-np.abs(said[later]), kind="stable")]
    drawn = np.random.default_rng([seed, source]).permutation(order[_PAIRS // 2 :])
    return np.concatenate([order[: _PAIRS // 2], drawn[: _PAIRS // 2]])


def _moved(bench: Bench, found: Outcome, row: int, node: NodeId) -> float:
    """By what part of itself a feature changes."""
    layer, position, index = node.layer or 0, node.position or 0, node.index or 0
    act = next((act for at, act in found.read.items() if at == layer), None)
    encode = bench.encoder(layer)
    if act is None or encode is None or position < found.start:
        return 0.0
    now = float(encode(act[row : row + 1, position - found.start])[0, index])
    clean = float(bench.active(layer)[position, index])
    return now / clean - 1.0 if clean else 0.0


def _into(graph: Graph, target: int) -> Iterator[tuple[int, float]]:
    mine = graph.edges.target == target
    yield from zip(graph.edges.source[mine].tolist(), graph.edges.weight[mine].tolist(), strict=True)


def _write_length(bench: Bench, node: NodeId) -> float:
    layer, position, index = node.layer or 0, node.position or 0, node.index or 0
    return float(bench.write(layer, [index], position, layer)[0].square().sum().sqrt())


# ---------------------------------------------------------------- 3


def _propagated(bench: Bench, graph: Graph, chosen: Sequence[int], depths: int, progress: Progress) -> Iterator[Depth]:
    found: dict[int, list[tuple[float, float, float]]] = {}
    done = 0
    for (part, real), (_, replaced) in zip(
        _batches(bench, graph, chosen, Free()), _batches(bench, graph, chosen, Iterative()), strict=True
    ):
        for row, i in enumerate(part):
            layer, position = int(graph.nodes.layer[i]), int(graph.nodes.position[i])
            read = range(layer, min(layer + depths, bench.n_layers - 1) + 1)
            model, other = (
                _changes(bench, run_rows(bench, [rows[row]], mode, read=read, point=Point.RESID_POST), position)
                for rows, mode in ((real, Free()), (replaced, Iterative()))
            )
            for depth in range(1, len(model)):
                found.setdefault(depth, []).append(_compared(model[depth], other[depth], model[0]))
        done += len(part)
        progress("features taken out of both", done, len(chosen))
    for depth, several in sorted(found.items()):
        if len(several) >= FEWEST_FEATURES:
            cosine, error, unanswered = (_mean(np.array(column)) for column in zip(*several, strict=True))
            yield Depth(depth, cosine, error, unanswered)


def _changes(bench: Bench, found: Outcome, position: int) -> list[Float[Tensor, "pos d_model"]]:
    """By how much the residual stream changes behind each layer that was read, from a position on."""
    start = found.start
    return [
        (act[0].double() - bench.frozen.residuals[layer + 1][start : start + act.shape[1]].double())[position - start :]
        for layer, act in sorted(found.read.items())
    ]


def _compared(
    real: Float[Tensor, "pos d_model"], other: Float[Tensor, "pos d_model"], first: Float[Tensor, "pos d_model"]
) -> tuple[float, float, float]:
    size = float(real.square().sum())
    return _cosine(real, other), float((real - other).square().sum()) / max(size, 1e-30), _cosine(real, first)


def _cosine(a: Float[Tensor, "pos d_model"], b: Float[Tensor, "pos d_model"]) -> float:
    size = float(a.square().sum().sqrt() * b.square().sum().sqrt())
    return float((a * b).sum()) / size if size else 0.0


# ---------------------------------------------------------------- figures


def _log_log(x: np.ndarray, y: np.ndarray) -> Estimate:
    """Pearson's correlation of logarithms; what is 0 on either side is left out."""
    kept = (x > 0) & (y > 0)
    x, y = np.log(x[kept]), np.log(y[kept])
    return _bootstrapped(lambda drawn: correlation(x[drawn], y[drawn]), len(x))


def _ranked(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Estimate:
    """Spearman's correlation over all pairs; drawn anew are the sources, as their pairs belong together."""

    def over(drawn: np.ndarray) -> float:
        chosen = [pairs[int(i)] for i in drawn]
        x, y = np.concatenate([one for one, _ in chosen]), np.concatenate([other for _, other in chosen])
        return correlation(ranks(x), ranks(y))

    return _bootstrapped(over, len(pairs))


def _mean(values: np.ndarray) -> Estimate:
    return _bootstrapped(lambda drawn: float(values[drawn].mean()), len(values))


def _bootstrapped(figure: Callable[[np.ndarray], float], n: int) -> Estimate:
    drawn = np.random.default_rng(0).integers(0, n, (_DRAWS, n))
    low, high = band([figure(one) for one in drawn])
    return Estimate(figure(np.arange(n)), low, high, n)
