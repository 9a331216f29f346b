"""A graph on the wire is the graph."""

import json
from dataclasses import replace

import numpy as np
import pytest

from micrographia.evidence.claims import claims_of
from micrographia.evidence.evidence import Evidence, Measured
from micrographia.evidence.links import links_of
from micrographia.graph.files import manifest_of
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from micrographia.report.books import entries
from micrographia.report.wire.documents import Packed, packed
from micrographia.report.wire.records import wire_json
from tests.graph.graphs import full_graph, small_graph

WIDTHS = {"u8": "<u1", "i16": "<i2", "i32": "<i4", "f32": "<f4", "f64": "<f8"}


def columns(found: Packed) -> dict[str, np.ndarray]:
    """Every column, read as the page reads it."""
    return {
        each.name: np.frombuffer(
            found.columns, WIDTHS[each.dtype], count=int(np.prod(each.shape)), offset=each.offset
        ).reshape(each.shape)
        for each in found.document.columns
    }


@pytest.mark.parametrize(
    "graph", [small_graph(0), full_graph(1), small_graph(0).subgraph([])], ids=["small", "full", "bare"]
)
def test_every_column_is_the_graphs_own(graph: Graph) -> None:
    found = columns(packed(graph))
    for part in ("nodes", "edges"):
        for name in ("kind", "layer", "position", "index", "total", "source", "target", "weight", "share", "score"):
            if hasattr(getattr(graph, part), name):
                column = found[f"{part}.{name}"]
                wanted = getattr(getattr(graph, part), name).astype(column.dtype)
                assert np.array_equal(column, wanted, equal_nan=column.dtype.kind == "f")
    assert np.array_equal(found["edges.weight"], graph.edges.weight)
    assert np.array_equal(found["nodes.activation"], graph.nodes.activation)
    if graph.promoted is not None:
        assert np.array_equal(found["promoted.tokens"], graph.promoted.tokens)
        assert found["suppressed.logits"].shape == graph.promoted.suppressed_logits.shape


def test_columns_begin_at_eights_and_do_not_overlap() -> None:
    found = packed(full_graph(0))
    end = 0
    for each in found.document.columns:
        assert each.offset % 8 == 0
        assert each.offset >= end
        end = each.offset + int(np.prod(each.shape)) * np.dtype(WIDTHS[each.dtype]).itemsize
    assert end == len(found.columns)


def test_words_groups_and_books_are_in_the_document() -> None:
    graph = full_graph(0)
    told = packed(graph).document
    assert graph.ledger is not None
    assert told.ledger is not None
    assert [(each.name, each.share) for each in told.ledger.entries] == [
        (each.name, each.share) for each in entries(graph.ledger, graph.facts)
    ]
    assert [group.members for group in told.supernodes] == [
        tuple(graph.nodes.find(member) for member in group.members) for group in graph.supernodes
    ]
    assert {name: label.text for name, label in told.labels.items()} == {
        str(name): label.text for name, label in graph.labels.items()
    }
    assert wire_json(told) == wire_json(packed(full_graph(0)).document)


def test_a_graph_without_books_says_so() -> None:
    told = packed(replace(small_graph(0), ledger=None, scores=None, facts=None, promoted=None)).document
    assert (told.ledger, told.facts, told.scores, told.pieces) == (None, None, (), {})


def test_claims_come_with_what_was_measured_beside_controls() -> None:
    graph = small_graph(0)
    claims = claims_of(graph)
    controls = tuple(np.linspace(-0.01, 0.01, 40).tolist())
    measured = {claims[0].name: Measured(2 * claims[0].total, None, controls, 0.1)}
    evidence = Evidence(claims[0].target, "x", 1.0, 0.5, claims, measured, family=1)
    told = packed(graph, evidence=evidence).document.evidence
    assert told is not None
    first, second = told.claims[:2]
    assert graph.nodes.kind[told.target] == Kind.TARGET
    assert (first.effect, first.n_controls, first.verdict) == (2 * claims[0].total, 40, "confirmed")
    assert first.low is not None
    assert (second.effect, second.low, second.p, second.n_controls, second.verdict) == (None, None, None, 0, "untested")
    assert first.members == tuple(map(graph.nodes.find, claims[0].members))


def test_claims_about_the_inside_come_along_with_both_ends() -> None:
    graph = small_graph(3, node_share=1.0, edge_share=1.0)
    claims = claims_of(graph)
    links = links_of(graph, claims)
    controls = tuple(np.linspace(-0.01, 0.01, 40).tolist())
    first = links[0]
    measured = {first.key: Measured(2 * first.predicted, None, controls, 0.1)}
    evidence = Evidence(claims[0].target, "x", 1.0, 0.5, claims, measured, links=links)
    told = packed(graph, evidence=evidence).document.evidence
    assert told is not None
    assert len(told.links) == len(links) > 1
    for record, one in zip(told.links, evidence.inside, strict=True):
        claim = one.claim
        assert (record.kind, record.name, record.to) == (claim.kind, claim.name, claim.to)
        assert record.members == tuple(map(graph.nodes.find, claim.members))
        assert record.reads == tuple(map(graph.nodes.find, claim.reads))
        assert (record.predicted, record.verdict) == (claim.predicted, one.judgement.verdict)
    assert [record.n_controls for record in told.links].count(40) == 1


def test_what_the_page_only_passes_on_is_the_manifests_own() -> None:
    graph = full_graph(0)
    kept = json.loads(packed(graph).document.kept)
    assert kept == json.loads(manifest_of(graph).model_dump_json(include=set(kept)))
    assert set(kept) == {"scores", "ledger", "facts", "foreign"}
