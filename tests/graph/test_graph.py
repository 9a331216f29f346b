"""A graph in Python: what one can ask it, and what it becomes."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from micrographia.errors import CallError, UnsupportedError
from micrographia.graph.graph import Supernode
from micrographia.graph.nodes import Kind, NodeId
from tests.graph.graphs import full_graph, small_graph


def test_a_node_says_all_that_is_known_of_it_at_once() -> None:
    graph = full_graph()
    name = graph.nodes.id(0)
    node = graph.node(str(name))
    assert (node.id, node.words) == (name, "France")
    assert node.activation == graph.nodes.activation[0]
    assert node.promotes[0] == ("France0", 0)
    assert node.suppresses[0][0] == f"France{2 * (graph.nodes.spans['feature'].stop - 1)}"
    assert graph.node("token@0").words == "France"
    assert graph.node("token@1").promotes == ()
    assert graph.node("target.1").words == "France"


def test_inputs_and_outputs_are_the_edges_heaviest_first() -> None:
    graph = small_graph(1)
    for i, name in enumerate(graph.nodes):
        for found, column in (
            (graph.inputs_of(name), graph.edges.target),
            (graph.outputs_of(name), graph.edges.source),
        ):
            assert len(found) == int((column == i).sum())
            sizes = [abs(edge.weight) for edge in found]
            assert sizes == sorted(sizes, reverse=True)
    assert graph.inputs_of("target.0", 2) == graph.inputs_of("target.0")[:2]


def test_a_subgraph_holds_what_was_named_and_the_edges_between() -> None:
    graph = full_graph(1)
    names = [graph.nodes.id(i) for i in (0, 2)]
    small = graph.subgraph(names)
    kept = {str(name) for name in small.nodes}
    assert {str(name) for name in names} <= kept
    assert {Kind(kind) for kind in small.nodes.kind} == {Kind.FEATURE, Kind.TOKEN, Kind.TARGET}
    inner = {
        (str(edge.source), str(edge.target), edge.weight)
        for name in kept
        for edge in graph.inputs_of(name)
        if str(edge.source) in kept
    }
    assert inner == {(str(e.source), str(e.target), e.weight) for name in kept for e in small.inputs_of(name)}
    assert small.node(names[1]).promotes == graph.node(names[1]).promotes
    assert (small.scores, small.ledger) == (None, None)
    assert small.supernodes[0].members == graph.supernodes[0].members
    with pytest.raises(CallError, match=r"There is no node 9\.9@9"):
        graph.subgraph(["9.9@9"])


def test_groups_hold_nodes_that_are_there_and_each_only_once() -> None:
    graph = small_graph()
    a, b = graph.nodes.id(0), graph.nodes.id(1)
    assert graph.grouped([Supernode("x", (a, b), "asked")]).supernodes[0].members == (a, b)
    with pytest.raises(CallError, match="is in two groups"):
        graph.grouped([Supernode("x", (a,), ""), Supernode("y", (a,), "")])
    with pytest.raises(CallError, match="'x' is empty"):
        graph.grouped([Supernode("x", (), "")])
    with pytest.raises(CallError, match="There is no node"):
        graph.grouped([Supernode("x", (NodeId(Kind.FEATURE, 99, 0, 0),), "")])


def test_paths_start_at_sources_only() -> None:
    with pytest.raises(CallError, match="at least one path"):
        small_graph().strongest_paths(0)
    with pytest.raises(CallError, match="tokens, errors or the bias"):
        small_graph().strongest_paths(ends=Kind.FEATURE)


def test_data_frames_hold_every_row() -> None:
    pytest.importorskip("pandas")
    graph = full_graph()
    frames = graph.to_pandas()
    assert list(frames.nodes["name"]) == list(map(str, graph.nodes))
    assert frames.nodes["kind"].iloc[-1] == "target"
    assert np.array_equal(frames.edges["weight"].to_numpy(), graph.edges.weight)


def test_a_networkx_graph_holds_every_node_and_edge() -> None:
    pytest.importorskip("networkx")
    graph = full_graph()
    made = graph.to_networkx()
    assert list(made) == list(map(str, graph.nodes))
    assert made.number_of_edges() == len(graph.edges)
    edge = graph.inputs_of("target.0", 1)[0]
    assert made.edges[str(edge.source), "target.0"]["weight"] == edge.weight


@pytest.mark.parametrize(("package", "method"), [("pandas", "to_pandas"), ("networkx", "to_networkx")])
def test_a_missing_package_is_named(package: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UnsupportedError, match=f"needs {package}: pip install"):
        getattr(small_graph(), method)()


def test_it_says_what_it_is() -> None:
    graph = small_graph()
    assert repr(graph).startswith("<Graph of ␣t0, ␣t1 on 3 tokens: <NodeTable: ")
    assert "1 bias, 2 targets" in repr(graph)
    many = replace(graph, targets=graph.targets * 2)
    assert "␣t0, …" in repr(many)
