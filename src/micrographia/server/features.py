"""Features as the atlas and the labels have them: one, or those of a description."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from micrographia.atlas.atlas import Atlas, LayerAtlas
from micrographia.errors import CallError
from micrographia.graph.graph import Graph
from micrographia.labels.beside import labels_beside, labels_to_write
from micrographia.labels.label import Label
from micrographia.labels.store import LabelBook
from micrographia.model.tokens import Tokenizer
from micrographia.report.wire.features import feature_document
from micrographia.report.wire.labels import label_record, labels_of
from micrographia.report.wire.live import FeatureList, FeatureRow
from micrographia.report.wire.records import FeatureDocument, LabelRecord

__all__ = ["Features", "Filters"]

_SAID = 4


@dataclass(frozen=True, slots=True)
class Filters:
    """What features are looked for; None is any."""

    layer: int | None = None
    kind: str | None = None
    text: str = ""
    promotes: str = ""
    density_min: float = 0.0
    density_max: float = 1.0
    offset: int = 0
    limit: int = 50


@final
class Features:
    """The features of one atlas, with their labels where there are some."""

    def __init__(self, atlas: Atlas, tokenizer: Tokenizer) -> None:
        self.atlas, self._tokenizer = atlas, tokenizer
        self._counts: dict[int, Int64[np.ndarray, " feature"]] = {}

    def one(self, layer: int, index: int) -> FeatureDocument:
        """All that is known of a feature."""
        feature = self.atlas.feature(layer, index)
        return feature_document(feature, self._tokenizer.piece, label=self.label(layer, index))

    def label(self, layer: int, index: int) -> LabelRecord | None:
        """What it is called."""
        with self._book() as book:
            found = None if book is None else book.label(layer, index)
        return None if found is None else label_record(found)

    def say(self, layer: int, index: int, text: str) -> LabelRecord | None:
        """Keep a person's own label, or take it back; what it is called now."""
        self.atlas.feature(layer, index)
        with labels_to_write(self.atlas) as book:
            if text.strip():
                book.say(layer, index, text)
            else:
                book.unsay(layer, index)
            found = book.label(layer, index)
        return None if found is None else label_record(found)

    def of_nodes(self, graph: Graph) -> dict[str, LabelRecord]:
        """The labels of a graph's features, by the names of their nodes."""
        with self._book() as book:
            return {} if book is None else labels_of(graph, book)

    def matching(self, wanted: Filters) -> FeatureList:
        """The features of a description, layer by layer; of a token that is promoted, those first that do it most."""
        layers = self.atlas.layers if wanted.layer is None else (wanted.layer,)
        tokens = self._promoted(wanted.promotes) if wanted.promotes else None
        found: list[tuple[float, int, int]] = []
        with self._book() as book:
            for layer in layers:
                its = self.atlas.layer(layer)
                chosen = np.flatnonzero(self._chosen(its, book, wanted, tokens))
                order = np.zeros(len(chosen)) if tokens is None else -_cosines(its, chosen, tokens)
                found += zip(order.tolist(), repeat(int(layer)), chosen.tolist())
            some = sorted(found)[wanted.offset : wanted.offset + wanted.limit]
            rows = tuple(
                self._row(layer, index, None if book is None else book.label(layer, index)) for _, layer, index in some
            )
        return FeatureList(total=len(found), rows=rows)

    # ------------------------------------------------------------ parts

    @contextmanager
    def _book(self) -> Generator[LabelBook | None]:
        """The labels, open; None where nobody has made any."""
        book = labels_beside(self.atlas)
        if book is None:
            yield None
            return
        with book:
            yield book

    def _promoted(self, text: str) -> list[int]:
        """The tokens that are meant: with a space in front, and without."""
        tokens = [int(self._tokenizer.token(word)) for word in (text, f" {text}") if self._tokenizer.is_token(word)]
        if not tokens:
            raise CallError(f"{text!r} is no token of {self._tokenizer.name}, so no feature promotes it.")
        return tokens

    def _density(self, its: LayerAtlas, layer: int) -> np.ndarray:
        if layer not in self._counts:
            self._counts[layer] = its.counts()
        return self._counts[layer] / its.n_positions

    def _chosen(
        self, its: LayerAtlas, book: LabelBook | None, wanted: Filters, tokens: list[int] | None
    ) -> Bool[np.ndarray, " feature"]:
        density = self._density(its, its.plan.layer)
        chosen = (density >= wanted.density_min) & (density <= wanted.density_max)
        if tokens is not None:
            chosen &= np.isin(its.arrays["promoted.token"], tokens).any(1)
        if wanted.kind is not None or wanted.text:
            names: Mapping[int, tuple[str | None, str]] = {} if book is None else book.names(its.plan.layer)
            sought = wanted.text.casefold()
            fitting = [
                index
                for index, (kind, text) in names.items()
                if wanted.kind in (None, kind) and (not sought or sought in text.casefold())
            ]
            named = np.zeros_like(chosen)
            named[fitting] = True
            chosen &= named
        return chosen

    def _row(self, layer: int, index: int, label: Label | None) -> FeatureRow:
        feature = self.atlas.feature(layer, index)
        return FeatureRow(
            layer=layer,
            index=index,
            density=feature.density,
            largest=feature.largest,
            kind=None if label is None else label.kind,
            label=None if label is None else label.text,
            score=None if label is None else label.score,
            promoted=tuple(self._tokenizer.piece(int(said.token)) for said in feature.promoted[:_SAID]),
        )


def _cosines(its: LayerAtlas, chosen: Int64[np.ndarray, " some"], tokens: list[int]) -> Float64[np.ndarray, " some"]:
    """How much each feature promotes one of the tokens."""
    there = np.isin(its.arrays["promoted.token"][chosen], tokens)
    return np.where(there, its.arrays["promoted.cosine"][chosen].astype(np.float64), -1.0).max(1, initial=-1.0)
