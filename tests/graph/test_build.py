"""From a trace to a graph: the tables hold the trace's numbers, and what is shown and what is not add up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.graph.build import graph_of
from micrographia.graph.nodes import Kind
from micrographia.graph.prune import complete_sums
from tests.graph.traces import random_trace


@settings(max_examples=15)
@given(st.integers(0, 1000), st.floats(0.1, 1), st.floats(0.1, 1))
def test_every_edge_is_the_traces(seed: int, node_share: float, edge_share: float) -> None:
    trace = random_trace(seed)
    graph = graph_of(trace, node_share=node_share, edge_share=edge_share)
    row_of = {int(node): row for row, node in enumerate(trace.row_node)}
    for name in graph.nodes:
        row = row_of.get(trace.nodes.find(name))
        for edge in graph.inputs_of(name):
            assert row is not None
            source = trace.nodes.find(edge.source)
            assert edge.weight == float(trace.rows[row, source])
            assert edge.share == pytest.approx(abs(edge.weight) / float(complete_sums(trace)[row]))


def test_when_all_is_shown_the_books_balance() -> None:
    graph = graph_of(random_trace(1), node_share=1.0, edge_share=1.0)
    fed = [name for name in graph.nodes if graph.inputs_of(name)]
    assert {name.kind for name in fed} == {Kind.FEATURE, Kind.TARGET}
    for name in fed:
        node, inputs = graph.node(name), graph.inputs_of(name)
        assert sum(edge.weight for edge in inputs) + node.folded == pytest.approx(node.total)
        assert 0 < sum(edge.share for edge in inputs) <= 1 + 1e-12
    assert sum(edge.share for edge in graph.inputs_of("target.0")) < 1  # the rest was folded


def test_it_carries_all_that_the_trace_said() -> None:
    trace = random_trace(2)
    graph = graph_of(trace)
    assert (graph.prompt, graph.facts, graph.n_layers) == (trace.prompt, trace.facts, 4)
    assert [t.probability for t in graph.targets] == [t.probability for t in trace.targets]
    assert (graph.node_share, graph.edge_share) == (0.8, 0.98)
    assert graph.ledger is not None
    assert graph.ledger.through_skips is None
    assert np.isnan(graph.nodes.total[graph.nodes.spans["token"]]).all()
