"""A graph takes what is known of its features from their labels, and keeps what it called them itself."""

from dataclasses import replace
from pathlib import Path

from micrographia.graph.graph import NodeLabel
from micrographia.graph.nodes import Kind, NodeId
from micrographia.labels.naming import named
from micrographia.labels.store import LabelBook
from tests.graph.graphs import small_graph
from tests.labels.made import PROVENANCE, label


def place(name: NodeId) -> tuple[int, int]:
    assert name.layer is not None
    assert name.index is not None
    return name.layer, name.index


def test_features_are_called_what_their_labels_say(tmp_path: Path) -> None:
    graph = replace(small_graph(), labels={})
    features = [name for name in graph.nodes if name.kind is Kind.FEATURE]
    first = features[0]
    second = next(name for name in features if name.layer != first.layer)
    with LabelBook.create(tmp_path / "atlas.labels") as book:
        for name, text, kind in ((first, "␣years", "input"), (second, None, "obscure")):
            book.write(place(name)[0], [label(*place(name), text, kind)], PROVENANCE)
        found = named(graph, book)
        assert found.labels[first] == NodeLabel("␣years", "input", 0.9, "rule")
        assert found.labels[second] == NodeLabel("", "obscure", 0.9, "rule")
        assert found.node(first).words == "␣years"
        assert set(map(place, found.labels)) == {place(first), place(second)}
        assert set(found.labels) == {name for name in features if place(name) in map(place, (first, second))}
        own = NodeLabel("mine", by="person")
        assert named(replace(graph, labels={first: own}), book).labels[first] == own
