"""Everything for other programs."""

import json

import pytest

from micrographia.report.content import content_of
from micrographia.report.outline import outline, parts_of
from tests.graph.graphs import full_graph, small_graph


def test_it_is_json_and_holds_every_node_and_edge() -> None:
    graph = full_graph(0)
    read = json.loads(json.dumps(content_of(graph), allow_nan=False))
    assert [node["id"] for node in read["nodes"]] == [str(node) for node in graph.nodes]
    assert [node["influence"] for node in read["nodes"]] == graph.nodes.influence.tolist()
    assert read["edges"]["source"] == graph.edges.source.tolist()
    assert read["edges"]["target"] == graph.edges.target.tolist()
    for name in ("weight", "share", "score"):
        assert read["edges"][name] == pytest.approx(getattr(graph.edges, name), rel=1e-5)
    assert [target["name"] for target in read["targets"]] == [target.name for target in graph.targets]


def test_parts_tell_under_which_they_stand() -> None:
    graph = full_graph(0)
    parts = content_of(graph)["parts"]
    assert isinstance(parts, list)
    assert sorted(tuple(part["members"]) for part in parts) == sorted(
        tuple(str(graph.nodes.id(node)) for node in part.members) for part in parts_of(graph)
    )
    assert parts[0]["under"] is None
    for child in outline(graph).root.children:
        [line] = [part for part in parts if part["members"] == [str(graph.nodes.id(i)) for i in child.part.members]]
        assert line["under"] == 0
    assert all(part["under"] < number for number, part in enumerate(parts) if number)


def test_the_books_are_the_graphs_own() -> None:
    graph = small_graph(0)
    assert graph.ledger is not None
    assert graph.scores is not None
    content = content_of(graph)
    ledger, scores = content["ledger"], content["scores"]
    assert isinstance(ledger, dict)
    assert isinstance(scores, dict)
    assert ledger["ends"]["tokens"] == graph.ledger.ends.tokens
    assert ledger["counts"]["shown_edges"] == len(graph.edges)
    assert scores["peer"]["replacement"] == graph.scores.peer.replacement
