"""A graph whose features are called what their labels call them."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from micrographia.graph.graph import Graph, NodeLabel
from micrographia.graph.nodes import NodeId
from micrographia.ids import Layer
from micrographia.labels.label import Label
from micrographia.labels.store import LabelBook

__all__ = ["named"]


def named(graph: Graph, book: LabelBook) -> Graph:
    """With a label at every feature of which something is known. What the graph called its nodes before stays."""
    return replace(graph, labels={**dict(_found(graph, book)), **graph.labels})


def _found(graph: Graph, book: LabelBook) -> Iterator[tuple[NodeId, NodeLabel]]:
    features = np.arange(len(graph.nodes))[graph.nodes.spans["feature"]]
    layers, index = graph.nodes.layer[features], graph.nodes.index[features]
    for layer in np.unique(layers).tolist():
        here = features[layers == layer]
        labels = book.labels(Layer(layer), np.unique(index[layers == layer]).tolist())
        for node in here.tolist():
            label = labels.get(int(graph.nodes.index[node]))
            if label is not None:
                yield graph.nodes.id(node), _brief(label)


def _brief(label: Label) -> NodeLabel:
    return NodeLabel(label.text or "", label.kind or "", label.score, label.by)
