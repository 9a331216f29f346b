"""Claims about the inside: between groups and along edges, direct and by all paths, true ones and false ones."""

import numpy as np
import pytest

from micrographia.evidence.claims import Predictor, claims_of
from micrographia.evidence.evidence import Evidence
from micrographia.evidence.interventions import Constrained, Free, ablate
from micrographia.evidence.links import EDGES, PAIRS, links_of, weights_of
from micrographia.evidence.placing import place
from micrographia.evidence.rows import run_rows
from micrographia.evidence.testing import Experiment
from micrographia.graph.graph import Graph, Supernode
from micrographia.graph.nodes import Kind, NodeId
from tests.evidence.planted import FEEDER, Planted, claiming, planted
from tests.graph.graphs import small_graph

LONG = 600.0


def lower(place_: Planted, n: int, seed: int) -> list[NodeId]:
    """Neurons of the lower layer that write anywhere."""
    drawn = np.random.default_rng(seed).permutation([i for i in range(120) if i != FEEDER])
    return [NodeId.parse(f"0.{index}@{place_.last}") for index in drawn[:n]]


def wired(place_: Planted, n_false: int, seed: int = 0) -> Graph:
    """The feeder's strongest edge, and as many false ones to the same carrier, said to be as strong, either way."""
    edges = {(carrier, None): place_.edge(carrier) for carrier in place_.carriers}
    fed = max(place_.carriers, key=lambda carrier: abs(place_.edge(place_.feeder, carrier)))
    edges[place_.feeder, fed] = place_.edge(place_.feeder, fed)
    for number, other in enumerate(lower(place_, n_false, seed)):
        edges[other, fed] = place_.edge(place_.feeder, fed) * (1 if (seed + number) % 2 else -1)
    return claiming(place_, edges)


def grouped(place_: Planted) -> Graph:
    low = [place_.feeder, *lower(place_, 1, 3)]
    edges = {(carrier, None): place_.edge(carrier) for carrier in place_.carriers}
    edges |= {(one, carrier): place_.edge(one, carrier) for one in low for carrier in place_.carriers}
    groups = [Supernode("low", tuple(low), "planted"), Supernode("carriers", tuple(place_.carriers), "planted")]
    return claiming(place_, edges, groups)


def verdicts(known: Evidence, kind: str) -> dict[str, str]:
    return {one.claim.key: one.judgement.verdict for one in known.of(kind)}


def test_a_group_moves_another_as_the_frozen_model_says() -> None:
    graph = small_graph(3, node_share=1.0, edge_share=1.0)
    features = [graph.nodes.id(i) for i in range(graph.nodes.spans["feature"].stop)]
    low = tuple(node for node in features if node.layer == 0)[:3]
    high = tuple(node for node in features if node.layer == 2)[:3]
    graph = graph.grouped([Supernode("low", low, "x"), Supernode("high", high, "y")])
    links = {claim.key: claim for claim in links_of(graph, claims_of(graph)) if claim.kind == "group"}
    claim = links["low → high (group)"]
    assert "high → low (group)" not in links, "nothing goes down"
    predictor = Predictor(graph, claim.target)
    members = np.array([graph.nodes.find(node) for node in claim.members])
    reads = [graph.nodes.find(node) for node in claim.reads]
    weights = weights_of(graph, reads)
    assert weights.sum() == pytest.approx(1.0)
    assert claim.total == pytest.approx(float(weights @ predictor.gains(members).numpy()[reads]))
    by_edges = sum(
        -weight * edge.weight / float(graph.nodes.total[read])
        for read, weight in zip(reads, weights, strict=True)
        for edge in graph.inputs_of(graph.nodes.id(read))
        if edge.source in claim.members
    )
    assert claim.direct == pytest.approx(by_edges)


def test_the_strongest_edges_make_two_claims_each() -> None:
    graph = small_graph(1, node_share=1.0, edge_share=1.0)
    links = [claim for claim in links_of(graph, claims_of(graph)) if claim.kind != "group"]
    n, e = graph.nodes, graph.edges
    mine = (n.kind == Kind.FEATURE) & (n.position >= graph.prompt.prepended)
    inner = [i for i in np.argsort(-e.score) if mine[e.source[i]] and mine[e.target[i]]]
    strongest = {(n.id(int(e.source[i])), n.id(int(e.target[i]))) for i in inner[:EDGES]}
    for kind in ("direct", "paths"):
        found = [claim for claim in links if claim.kind == kind]
        assert {(claim.members[0], claim.reads[0]) for claim in found} == strongest
        assert [abs(c.predicted) for c in found] == sorted((abs(c.predicted) for c in found), reverse=True)
    for claim in links:
        [edge] = [edge for edge in graph.inputs_of(claim.reads[0]) if edge.source == claim.members[0]]
        assert claim.direct == pytest.approx(-edge.weight / graph.node(claim.reads[0]).total)
    assert len([c for c in links_of(graph, claims_of(graph)) if c.kind == "group"]) <= PAIRS


def test_what_is_measured_along_an_edge_is_the_features_own_change(tiny) -> None:
    """By hand: a run of its own in each mode, and the activation read from it."""
    place_ = planted(tiny("llama"), 1)
    known = Experiment(place_.bench, wired(place_, 0)).run(LONG, most=20)
    for kind, mode in (("direct", Constrained()), ("paths", Free())):
        assert len(known.of(kind)) == 1
        for one in known.of(kind):
            carrier = one.claim.reads[0]
            placed = place(place_.bench, ablate([place_.feeder]), mode)
            found = run_rows(place_.bench, [placed], mode, read=[1])
            now = place_.bench.encoder(1)(found.read[1][0])[place_.last - found.start, carrier.index]
            clean = place_.bench.active(1)[place_.last, carrier.index]
            assert one.measured.effect == pytest.approx(float(now / clean - 1), abs=1e-9)
            assert one.measured.probability is None


def test_true_edges_are_confirmed_and_false_ones_refuted_at_the_nominal_rate(wide) -> None:
    shares: dict[str, list[float]] = {"direct": [], "paths": []}
    for seed in range(6):
        place_ = planted(wide, seed)
        known = Experiment(place_.bench, wired(place_, 3, seed), seed=seed).run(LONG)
        for kind, false in shares.items():
            confirmed = {key for key, verdict in verdicts(known, kind).items() if verdict == "confirmed"}
            true = {key for key in verdicts(known, kind) if key.startswith(f"{place_.feeder} → ")}
            assert true <= confirmed
            false.append(len(confirmed - true) / len(confirmed))
    assert all(sum(false) / len(false) <= 0.05 for false in shares.values())


def test_a_group_that_feeds_another_is_confirmed_to(tiny) -> None:
    place_ = planted(tiny("llama"), 5)
    known = Experiment(place_.bench, grouped(place_)).run(LONG)
    assert verdicts(known, "group") == {"low → carriers (group)": "confirmed"}
    [one] = known.of("group")
    assert one.measured.effect < 0 > one.claim.total
    assert known.counted("group") == {"confirmed": 1, "refuted": 0, "untested": 0}
    assert known.agreement("group") is None
    assert known.agreement("direct").n == len(known.of("direct"))
