"""The audit: figures that are known beforehand, or worked out one run at a time."""

import math

import numpy as np
import pytest

from micrographia.errors import CallError
from micrographia.evidence.audit import audit
from micrographia.evidence.bench import Bench
from micrographia.evidence.evidence import correlation
from micrographia.evidence.interventions import Free, ablate
from micrographia.evidence.placing import place
from micrographia.evidence.rows import run_rows
from micrographia.graph.build import graph_of
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from micrographia.graph.tracing import trace
from micrographia.microscope import Microscope
from tests.evidence.test_rows import bench_of


def traced(bench: Bench) -> Graph:
    found = trace(bench.model, bench.basis, bench.prompt)
    return graph_of(found, bench.found, str, node_share=1.0)


def test_neurons_are_their_own_replacement_and_transcoders_are_not(tiny) -> None:
    model = tiny("llama")
    exact = audit(bench_of(model, "neurons"), traced(bench_of(model, "neurons")), features=40)
    for depth in exact.depths:
        assert (depth.cosine.value, depth.error.value) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-9))
        assert depth.unanswered.value < 0.999
    other = bench_of(model, "per-layer")
    found = audit(other, traced(other), features=40)
    assert found.depths
    assert all(depth.cosine.value < 0.999 and depth.error.value > 1e-3 for depth in found.depths)
    for each in (found.influence, found.activation, found.paths, found.direct):
        assert -1 <= each.low <= each.high <= 1


def test_the_first_figure_is_that_of_runs_one_by_one(tiny) -> None:
    bench = bench_of(tiny("gpt2"), "neurons")
    graph = traced(bench)
    mine = [i for i, node in enumerate(graph.nodes) if node.kind == Kind.FEATURE and node.position > 0]
    found = audit(bench, graph, features=len(mine) + 50)
    clean = bench.logits()[-1].log_softmax(-1)
    x, y = [], []
    for i in mine:
        placed = place(bench, ablate([graph.nodes.id(i)]), Free())
        after = run_rows(bench, [placed], Free()).logits[0].log_softmax(-1)
        kl = float((clean.exp() * (clean - after)).sum())
        if kl > 0 and graph.nodes.influence[i] > 0:
            x.append(math.log(graph.nodes.influence[i]))
            y.append(math.log(kl))
    assert graph.prompt.prepended <= 1
    if graph.prompt.prepended == 1:
        assert found.influence.n == len(x)
        assert found.influence.value == pytest.approx(correlation(np.array(x), np.array(y)), abs=1e-6)
    assert found.influence.low <= found.influence.value <= found.influence.high


def test_the_same_seed_gives_the_same_figures(tiny) -> None:
    scope = Microscope(tiny("llama"), "neurons")
    graph = scope.trace("t3 t14 t15 t9 t2 t60", max_nodes=200)
    first, again = (scope.audit(graph, features=24, seed=4) for _ in range(2))
    assert first == again
    assert first != scope.audit(graph, features=24, seed=5)


def test_a_graph_of_few_features_is_refused(tiny) -> None:
    bench = bench_of(tiny("llama"), "neurons")
    graph = traced(bench)
    few = graph.subgraph([graph.nodes.id(0)])
    with pytest.raises(CallError, match="an audit needs 12"):
        audit(bench, few)
