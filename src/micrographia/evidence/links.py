"""What a graph claims about its inside: that one group moves another, and that its strongest edges carry what they say.

An edge makes two claims, which are kept apart. *Direct*: with all MLPs held at what they say on the clean run, the
feature at its end changes by the edge; this tests little but the arithmetic, for attention and norms alone are free.
*Paths*: with the model running on, it changes by the edge and all detours that are shown; this tests the graph.

What a claim reads is the mean of its features' activations, each over its clean value, weighted with their influence:
1 in the clean run, 0 where all are gone. Features at the places of the members are not read, as these are held.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from micrographia.evidence.claims import Claim, Predictor, of_this_prompt
from micrographia.graph.graph import Graph

__all__ = ["EDGES", "PAIRS", "links_of", "weights_of"]

PAIRS = 48
"""Pairs of groups, those first of which most influence is said to change."""
EDGES = 32
"""Edges between features, the strongest first."""


def links_of(graph: Graph, claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """Claims between groups and along edges. `claims` are those about the answer; the strongest of each kind first."""
    if not claims:
        return ()
    predictor = Predictor(graph, claims[0].target)
    return (*_pairs(graph, predictor, claims), *_edges(graph, predictor))


def weights_of(graph: Graph, reads: Sequence[int]) -> Float64[np.ndarray, " read"]:
    """How much each feature that is read counts."""
    influence = graph.nodes.influence[list(reads)]
    whole = influence.sum()
    return influence / whole if whole else np.full(len(influence), 1.0 / len(influence))


# ---------------------------------------------------------------- groups


def _pairs(graph: Graph, predictor: Predictor, claims: Sequence[Claim]) -> list[Claim]:
    groups = [claim for claim in claims if len(claim.members) > 1]
    found = [one for source in groups for one in _from(graph, predictor, source, groups)]
    moved = {claim.name: claim.influence for claim in groups}
    best = sorted(found, key=lambda one: (-abs(one.total) * moved[one.to], one.key))[:PAIRS]
    return sorted(best, key=lambda one: (-abs(one.total), one.key))


def _from(graph: Graph, predictor: Predictor, source: Claim, groups: Sequence[Claim]) -> Iterator[Claim]:
    members = _numbers(graph, source.members)
    gains, direct = predictor.gains(members).numpy(), predictor.direct_gains(members).numpy()
    held = set(predictor.held(members).tolist())
    for other in groups:
        reads = [i for i in _numbers(graph, other.members).tolist() if i not in held]
        if other is source or not reads:
            continue
        weights = weights_of(graph, reads)
        total = float(weights @ gains[reads])
        if total:
            yield Claim(
                name=source.name,
                members=source.members,
                target=source.target,
                direct=float(weights @ direct[reads]),
                total=total,
                influence=source.influence,
                kind="group",
                reads=tuple(graph.nodes.id(i) for i in reads),
                to=other.name,
            )


def _numbers(graph: Graph, members: Sequence[object]) -> Int64[np.ndarray, " member"]:
    return np.array(sorted(graph.nodes.find(str(member)) for member in members))


# ---------------------------------------------------------------- edges


def _edges(graph: Graph, predictor: Predictor) -> list[Claim]:
    n, e = graph.nodes, graph.edges
    mine = np.zeros(len(n), dtype=bool)
    mine[of_this_prompt(graph, range(n.spans["feature"].stop))] = True
    inner = np.flatnonzero(mine[e.source] & mine[e.target])
    best = inner[np.argsort(-e.score[inner], kind="stable")[:EDGES]]
    pairs = zip(e.source[best].tolist(), e.target[best].tolist(), strict=True)
    found = [one for source, target in pairs for one in _edge(graph, predictor, source, target)]
    return sorted(found, key=lambda one: (one.kind, -abs(one.predicted), one.key))


def _edge(graph: Graph, predictor: Predictor, source: int, target: int) -> Iterator[Claim]:
    n, members = graph.nodes, np.array([source])
    whole = float(n.influence[n.spans["feature"]].sum())
    for kind in ("direct", "paths"):
        yield Claim(
            name=str(n.id(source)),
            members=(n.id(source),),
            target=predictor.target,
            direct=float(predictor.direct_gains(members)[target]),
            total=float(predictor.gains(members)[target]),
            influence=float(n.influence[source]) / whole if whole else 0.0,
            kind=kind,
            reads=(n.id(target),),
            to=str(n.id(target)),
        )
