"""What lies beside a graph and is no part of it: the atlas of its basis, and the labels, for the pages made of it."""

from dataclasses import dataclass
from pathlib import Path

from micrographia.atlas.atlas import Atlas
from micrographia.graph.graph import Graph
from micrographia.labels.beside import labels_beside
from micrographia.model.tokens import Tokenizer
from micrographia.report.wire.features import features_of
from micrographia.report.wire.labels import labels_of
from micrographia.report.wire.records import FeatureDocument, LabelRecord

__all__ = ["Beside"]


@dataclass(frozen=True, slots=True)
class Beside:
    """Where an atlas is, and how its tokens are written. Nothing is open until a page is made."""

    atlas: Path
    tokenizer: Tokenizer

    def labels(self, graph: Graph) -> dict[str, LabelRecord]:
        """Of the graph's features, by the names of their nodes."""
        book = labels_beside(Atlas.open(self.atlas))
        if book is None:
            return {}
        with book:
            return labels_of(graph, book)

    def features(self, graph: Graph) -> dict[str, FeatureDocument]:
        """Of its nodes, the most influential first, as far as a file has room for them."""
        return features_of(graph, Atlas.open(self.atlas), self.tokenizer.piece)
