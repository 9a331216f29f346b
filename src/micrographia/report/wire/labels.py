"""Labels of features, as the page reads them: with all that they rest on."""

import numpy as np

from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from micrographia.labels.label import Label
from micrographia.labels.store import LabelBook
from micrographia.report.wire.records import LabelRecord

__all__ = ["label_record", "labels_of"]


def label_record(label: Label) -> LabelRecord:
    """One label."""
    return LabelRecord(
        text=label.text or "",
        kind=label.kind,
        score=label.score,
        nulls=dict(label.nulls or {}),
        evidence=label.why,
        by=label.by,
    )


def labels_of(graph: Graph, book: LabelBook) -> dict[str, LabelRecord]:
    """The labels of a graph's features, by the names of their nodes; what is known of this prompt is kept."""
    n, found = graph.nodes, dict[str, LabelRecord]()
    features = n.kind == Kind.FEATURE
    for layer in sorted(set(n.layer[features].tolist())):
        here = np.flatnonzero(features & (n.layer == layer)).tolist()
        labels = book.labels(layer, sorted({int(n.index[i]) for i in here}))
        for i in here:
            label, node = labels.get(int(n.index[i])), n.id(i)
            if label is not None:
                known = graph.labels.get(node)
                agrees = None if known is None else known.agrees
                found[str(node)] = label_record(label).model_copy(update={"agrees": agrees})
    return found
