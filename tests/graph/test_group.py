"""Supernodes: planted groups are found and nothing else; the rules hold on any graph; a person's word counts more."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.errors import CallError
from micrographia.graph.build import graph_of
from micrographia.graph.graph import Graph, Supernode
from micrographia.graph.group import group, likeness, push, super_edges
from micrographia.graph.nodes import Kind
from micrographia.graph.promoted import Directions
from micrographia.graph.trace import Trace
from tests.graph.graphs import full_graph, small_graph
from tests.graph.traces import random_trace

PER_LAYER = 6


def planted(seed: int = 0) -> tuple[Graph, Directions, set[frozenset[str]]]:
    """In each layer, features 0, 1 and 2 are copies of each other but for a little noise; the others are alone."""
    trace = random_trace(seed, n_layers=4, per_layer=PER_LAYER, n_positions=4, capped=False)
    n = trace.nodes
    copies = [(PER_LAYER * layer, PER_LAYER * layer + i) for layer in range(4) for i in (1, 2)]
    rows, position = trace.rows.clone(), n.position.clone()
    for first, copy in copies:
        position[copy] = position[first]
        rows[copy] = rows[first]
        rows[:, copy] = 1.01 * rows[:, first]
    trace = replace(trace, nodes=replace(n, position=position), rows=rows, pre=rows.sum(1))
    graph = graph_of(trace, node_share=1.0, edge_share=1.0)
    vectors = torch.randn(len(n.kind[n.features]), 60, generator=torch.Generator().manual_seed(seed))
    for first, copy in copies:
        vectors[copy] = vectors[first] + 0.1 * vectors[copy]
    chosen = vectors[[int(index) for index in graph.nodes.index[graph.nodes.spans["feature"]]]]
    there = {str(name): name for name in graph.nodes if name.kind is Kind.FEATURE}
    triples = [
        frozenset(
            text for text, name in there.items() if name.index // PER_LAYER == layer and name.index % PER_LAYER < 3
        )
        for layer in range(4)
    ]
    return graph, Directions(chosen, chosen), {triple for triple in triples if len(triple) > 1}


@pytest.mark.parametrize("seed", range(5))
def test_features_that_say_the_same_are_found_and_no_others(seed: int) -> None:
    graph, vectors, expected = planted(seed)
    found = {frozenset(map(str, each.members)) for each in group(graph, vectors).supernodes}
    assert found == expected
    assert len(expected) >= 2


@settings(max_examples=20)
@given(st.integers(0, 500), st.floats(0.01, 1))
def test_a_group_is_at_one_position_of_one_sign_and_all_alike(seed: int, least: float) -> None:
    graph = small_graph(seed)
    n, pushes, ranks = graph.nodes, push(graph), likeness(graph).rank()
    seen: set[int] = set()
    for each in group(graph, least=least).supernodes:
        members = [n.find(member) for member in each.members]
        assert len(members) > 1
        assert not seen & set(members)
        seen |= set(members)
        assert {member.kind for member in each.members} == {Kind.FEATURE}
        assert len(set(n.position[members])) == 1
        assert len(set(np.sign(pushes[members]))) == 1
        assert all(ranks[a, b] >= least for a in members for b in members if a != b)


def test_groups_are_the_same_each_time() -> None:
    graph, vectors, _ = planted()
    assert group(graph, vectors).supernodes == group(graph, vectors).supernodes
    again = group(group(graph, vectors), vectors)
    assert again.supernodes == group(graph, vectors).supernodes


def test_a_push_is_the_signed_sum_over_all_paths() -> None:
    graph = small_graph(4)
    n, e, pushes = graph.nodes, graph.edges, push(graph)

    def along(node: int) -> float:
        if n.kind[node] == Kind.TARGET:
            return graph.targets[int(n.index[node])].weight
        return sum(
            along(int(e.target[i]))
            * np.sign(e.weight[i])
            * e.share[i]
            * (-1 if n.kind[e.target[i]] == Kind.FEATURE and n.total[e.target[i]] < 0 else 1)
            for i in np.flatnonzero(e.source == node)
        )

    for node in range(n.spans["target"].start):
        assert pushes[node] == pytest.approx(along(node))
        assert abs(pushes[node]) <= n.influence[node] + 1e-12


def test_a_reason_is_given_in_words() -> None:
    graph, vectors, _ = planted()
    for each in group(graph, vectors).supernodes:
        assert each.by == "micrographia"
        assert f"{len(each.members)} features of layer {each.members[0].layer} at ␣p10" in each.reason
        assert "cosine of their edges" in each.reason
        assert re.search(r"cosine of their vectors (0\.9\d|1\.00) \(elsewhere -?0\.0", each.reason)
        assert "(elsewhere " in each.reason


def test_a_name_says_what_the_members_promote_and_fits_a_column() -> None:
    graph = full_graph(0, "x" * 50)
    grouped = group(replace(graph, supernodes=()), least=0.01)
    assert grouped.supernodes
    names = [each.name for each in grouped.supernodes]
    assert len(names) == len(set(names))
    assert all(name.startswith("xxxx") and len(name.split(" #")[0]) <= 24 for name in names)


def test_a_persons_groups_come_first_and_are_kept() -> None:
    graph, vectors, expected = planted()
    a, b = sorted(next(iter(expected)))[:2]
    mine = group(graph, vectors, mine={"my group": [a], "other": ["token@1"]})
    assert [(each.name, each.by) for each in mine.supernodes[:2]] == [("my group", "user"), ("other", "user")]
    found = [set(map(str, each.members)) for each in mine.supernodes[2:]]
    assert all(a not in members for members in found)
    again = group(mine, vectors, mine={"other": [b, "token@2"]})
    kept = {each.name: set(map(str, each.members)) for each in again.supernodes if each.by == "user"}
    assert kept == {"my group": {a}, "other": {b, "token@2"}}
    assert group(again, vectors).supernodes == again.supernodes


def test_a_name_that_is_no_node_is_refused() -> None:
    with pytest.raises(CallError, match="There is no node"):
        group(small_graph(), mine={"x": ["9.9@0"]})
    with pytest.raises(CallError, match="alike by more than 0"):
        group(small_graph(), least=0.0)


def test_a_graph_of_few_features_needs_no_control() -> None:
    trace = random_trace(0, n_layers=2, per_layer=2, n_positions=1, capped=False)
    graph = graph_of(trace, node_share=1.0, edge_share=1.0)
    assert np.array_equal(likeness(graph).rank(), likeness(graph).cosines["edges"])
    assert group(graph, least=0.5).nodes is graph.nodes


@settings(max_examples=15)
@given(st.integers(0, 300))
def test_an_edge_between_groups_is_the_members_sum_weighed_by_importance(seed: int) -> None:
    graph = small_graph(seed)
    features = [name for name in graph.nodes if name.kind is Kind.FEATURE]
    halves = (features[::2], features[1::2])
    graph = graph.grouped(Supernode(str(i), tuple(half), "") for i, half in enumerate(halves) if half)
    found = {(each.source, each.target): each.share for each in super_edges(graph)}
    owner = {member: each.name for each in graph.supernodes for member in each.members}
    expected: dict[tuple[str, str], float] = {}
    for name in {owner.get(node, str(node)) for node in graph.nodes}:
        members = [node for node in graph.nodes if owner.get(node, str(node)) == name and graph.inputs_of(node)]
        weights = {node: importance(graph, node) for node in members}
        for node in members:
            inputs = graph.inputs_of(node)
            inner = sum(abs(edge.weight) for edge in inputs if owner.get(edge.source, str(edge.source)) == name)
            outside = graph.node(node).inputs - inner
            for edge in inputs:
                source = owner.get(edge.source, str(edge.source))
                if source != name:
                    part = weights[node] / sum(weights.values()) * edge.weight / outside
                    expected[source, name] = expected.get((source, name), 0.0) + part
    assert found == pytest.approx(expected)


def importance(graph: Graph, node) -> float:
    return graph.targets[node.index].weight if node.kind is Kind.TARGET else graph.node(node).influence


def test_the_edges_into_a_group_are_at_most_all_that_it_gets() -> None:
    trace: Trace = random_trace(1, capped=False)
    alone = graph_of(trace, node_share=1.0, edge_share=1.0)
    grouped = group(alone, least=0.3)
    assert grouped.supernodes
    for graph, cancelled in ((alone, False), (grouped, True)):
        into: dict[str, float] = {}
        for each in super_edges(graph):
            into[each.target] = into.get(each.target, 0.0) + abs(each.share)
        assert max(into.values()) <= 1 + 1e-9
        assert (into["target.0"] < 1 - 1e-9) == cancelled
