"""What a graph predicts: by direct edges, by all paths, and with other features of a member's place held."""

from dataclasses import replace

import numpy as np
import pytest

from micrographia.errors import CallError
from micrographia.evidence.claims import Predictor, claims_of
from micrographia.graph.graph import Graph, Supernode
from micrographia.graph.nodes import Kind, NodeId
from tests.evidence.planted import claiming, planted
from tests.graph.graphs import small_graph


def by_hand(graph: Graph, members: set[int], target: int) -> float:
    """Every path by itself, by recursion."""
    n, e = graph.nodes, graph.edges
    held = {(int(n.layer[i]), int(n.position[i])) for i in members}

    def delta(node: int) -> float:
        if node in members:
            return -1.0
        if (int(n.layer[node]), int(n.position[node])) in held or n.kind[node] != Kind.FEATURE:
            return 0.0
        return through(node) / float(n.total[node])

    def through(node: int) -> float:
        mine = np.flatnonzero(e.target == node)
        return sum(float(e.weight[i]) * delta(int(e.source[i])) for i in mine)

    return through(target)


@pytest.mark.parametrize("seed", range(6))
def test_a_prediction_is_the_sum_over_all_paths(seed: int) -> None:
    graph = small_graph(seed, node_share=1.0, edge_share=1.0)
    target = graph.nodes.spans["target"].start
    predictor = Predictor(graph, "target.0")
    n = graph.nodes.spans["feature"].stop
    for members in ([0], [n // 2], [n - 1], [0, 1, n // 2], list(range(n))):
        found = predictor.total(np.array(members))
        assert found == pytest.approx(by_hand(graph, set(members), target), rel=1e-9, abs=1e-12)
        edges = [edge for edge in graph.inputs_of("target.0") if graph.nodes.find(edge.source) in members]
        assert predictor.direct(np.array(members)) == pytest.approx(-sum(edge.weight for edge in edges))
    assert predictor.total(np.arange(n)) == pytest.approx(predictor.direct(np.arange(n))), "all gone: no path is left"


def test_on_the_frozen_model_a_prediction_is_the_effect(tiny) -> None:
    """The feeder's two hops, with patterns, norms and every other neuron held: half of it gone, half of the effect."""
    place = planted(tiny("llama"), 4)
    edges = {(carrier, None): place.edge(carrier) for carrier in place.carriers}
    edges |= {(place.feeder, carrier): place.edge(place.feeder, carrier) for carrier in place.carriers}
    [claim] = [one for one in claims_of(claiming(place, edges)) if one.name == str(place.feeder)]
    assert claim.direct == 0.0
    by_carriers = 0.0
    for carrier in place.carriers:
        clean = float(place.trace.nodes.activation[place.trace.nodes.find(carrier)])
        by_carriers -= place.edge(place.feeder, carrier) / clean * place.edge(carrier)
    assert claim.total == pytest.approx(by_carriers, rel=1e-9)


def test_claims_are_groups_and_single_features_of_the_prompt_the_strongest_first() -> None:
    graph = small_graph(0, node_share=1.0, edge_share=1.0)
    features = [graph.nodes.id(i) for i in range(graph.nodes.spans["feature"].stop)]
    pair = tuple(features[2:4])
    graph = graph.grouped([Supernode("pair", pair, "because")])
    graph = replace(graph, prompt=replace(graph.prompt, prepended=1))
    claims = claims_of(graph)
    kept = [node for node in features if node.position >= 1]
    assert {node for claim in claims for node in claim.members} == set(kept)
    assert sum(len(claim.members) for claim in claims) == len(kept)
    grouped = [claim for claim in claims if claim.name == "pair"]
    assert all(set(claim.members) <= set(pair) for claim in grouped)
    assert [abs(claim.total) for claim in claims] == sorted((abs(claim.total) for claim in claims), reverse=True)
    whole = graph.nodes.influence[graph.nodes.spans["feature"]].sum()
    mine = [graph.nodes.influence[graph.nodes.find(node)] for node in kept]
    assert sum(claim.influence for claim in claims) == pytest.approx(sum(mine) / whole)


def test_claims_are_about_the_heaviest_target_or_the_one_that_is_named() -> None:
    graph = small_graph(1)
    heaviest = max(range(len(graph.targets)), key=lambda i: graph.targets[i].weight)
    assert {claim.target for claim in claims_of(graph)} == {NodeId(Kind.TARGET, index=heaviest)}
    assert {str(claim.target) for claim in claims_of(graph, "target.1")} == {"target.1"}
    assert claims_of(graph)[0].sign in (-1, 1)


def test_what_is_no_target_or_says_too_little_is_refused() -> None:
    graph = small_graph(0)
    for name in ("token@1", str(graph.nodes.id(0))):
        with pytest.raises(CallError, match="is no target"):
            claims_of(graph, name)
    with pytest.raises(CallError, match=r"There is no node target\.9"):
        claims_of(graph, "target.9")
    unknown = replace(graph, nodes=replace(graph.nodes, total=np.full(len(graph.nodes), np.nan)))
    with pytest.raises(CallError, match="nothing can be predicted"):
        claims_of(unknown)
