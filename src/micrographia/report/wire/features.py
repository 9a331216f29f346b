"""What an atlas knows of a feature, as the page reads it."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.feature import Example, Feature, Said
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from micrographia.report.wire.records import (
    ExampleRecord,
    FeatureDocument,
    HistogramRecord,
    LabelRecord,
    SaidRecord,
    wire_json,
)

__all__ = ["BUDGET", "Piece", "feature_document", "features_of"]

Piece: TypeAlias = Callable[[int], str]
"""A token as people read it."""

BUDGET = 8_000_000
"""Bytes that the features of one graph may take in a file."""
_STRONGEST, _PER_DECILE = 8, 3


def feature_document(
    feature: Feature, piece: Piece, *, label: LabelRecord | None = None, strongest: int = 24, per_decile: int = 4
) -> FeatureDocument:
    """One feature, with so many of its examples."""
    counts = np.flatnonzero(feature.histogram)
    first, last = (int(counts[0]), int(counts[-1])) if len(counts) else (0, 0)
    return FeatureDocument(
        layer=int(feature.layer),
        index=feature.index,
        count=feature.count,
        n_positions=feature.n_positions,
        density=feature.density,
        mean=feature.mean,
        largest=feature.largest,
        negative=feature.negative,
        histogram=HistogramRecord(
            edges=tuple(_short(edge) for edge in feature.edges[first : last + 2].tolist()),
            counts=tuple(feature.histogram[first : last + 1].tolist()),
        ),
        strongest=tuple(_example(each, piece) for each in feature.strongest[:strongest]),
        deciles=tuple(tuple(_example(each, piece) for each in some[:per_decile]) for some in feature.deciles()),
        promoted=tuple(_said(each, piece) for each in feature.promoted),
        suppressed=tuple(_said(each, piece) for each in feature.suppressed),
        label=label,
    )


def features_of(
    graph: Graph,
    atlas: Atlas,
    piece: Piece,
    *,
    labels: Mapping[str, LabelRecord] = {},
    budget: int = BUDGET,
) -> dict[str, FeatureDocument]:
    """The features of a graph's nodes, the most influential first, as far as there is room for them."""
    n = graph.nodes
    order = np.argsort(-n.influence, kind="stable")
    found: dict[str, FeatureDocument] = {}
    taken = 0
    for node in order[n.kind[order] == Kind.FEATURE].tolist():
        layer, index = int(n.layer[node]), int(n.index[node])
        name = f"{layer}.{index}"
        if name in found or layer not in atlas.layers or index >= atlas.n_features(layer):
            continue
        known = feature_document(
            atlas.feature(layer, index),
            piece,
            label=labels.get(name),
            strongest=_STRONGEST,
            per_decile=_PER_DECILE,
        )
        taken += len(wire_json(known))
        if taken > budget:
            break
        found[name] = known
    return found


def _example(each: Example, piece: Piece) -> ExampleRecord:
    return ExampleRecord(
        tokens=tuple(piece(int(token)) for token in each.tokens),
        activations=tuple(map(_short, each.activations)),
        at=each.at,
    )


def _said(each: Said, piece: Piece) -> SaidRecord:
    return SaidRecord(token=piece(int(each.token)), logit=_short(each.logit))


def _short(value: float) -> float:
    """Four digits are all that a page shows."""
    return float(f"{value:.4g}")
