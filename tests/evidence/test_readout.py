"""How a target is measured: a token's logit, or a difference of two, less the mean of all."""

from dataclasses import replace

import pytest
import torch

from micrographia.errors import CallError
from micrographia.evidence.readout import Readout, readout_of
from micrographia.graph.graph import Graph, GraphTarget
from micrographia.graph.nodes import NodeId
from micrographia.graph.targets import Tokens, difference
from micrographia.graph.tracing import trace
from micrographia.model.model import Model
from tests.graph.graphs import small_graph
from tests.graph.oracle import basis_for, prompt

LOGITS = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
TARGET = NodeId.parse("target.0")


def named(name: str, token: int | None = None) -> Graph:
    graph = small_graph(0)
    first = GraphTarget(name, 2, 1.0, None, token)
    return replace(graph, targets=(first, *graph.targets[1:]))


def test_a_token_is_read_less_the_mean_of_all_and_a_difference_is_one() -> None:
    token = Readout("a", 0, {2: 1.0})
    assert token.value(LOGITS).tolist() == [3.0, 2.0]
    assert token.probability(LOGITS).tolist() == pytest.approx(LOGITS.double().softmax(-1)[:, 2].tolist())
    both = Readout("a − b", 0, {2: 1.0, 1: -1.0})
    assert both.value(LOGITS).tolist() == [4.0, 3.0]
    assert both.probability(LOGITS) is None


def test_the_clean_value_is_the_one_that_the_trace_explains(tiny) -> None:
    model: Model = tiny("gpt2")
    for target in (Tokens((5,)), difference(5, 7)):
        [row] = trace(model, basis_for("neurons", model), prompt(model), target=target, max_nodes=3).targets
        graph = replace(
            small_graph(0, node_share=1.0),
            targets=(GraphTarget(row.name, row.position, 1.0, None, row.token),) * 2,
        )
        read = readout_of(graph, TARGET, model)
        logits = model.run(prompt(model)).logits[0, [row.position]]
        assert float(read.value(logits)) == pytest.approx(row.value, abs=1e-10)


def test_what_is_neither_is_refused(tiny) -> None:
    for name in ("direction at resid_post.1@2", "12.301@5", "0.5·t3 + t4", "t3 − t999"):
        with pytest.raises(CallError, match="neither a token nor a difference of two"):
            readout_of(named(name), TARGET, tiny("gpt2"))
    with pytest.raises(CallError, match="is no target"):
        readout_of(named("t3", 3), NodeId.parse("token@1"), tiny("gpt2"))
    assert readout_of(named("t3 − t4"), TARGET, tiny("gpt2")).coefficients == {3: 1.0, 4: -1.0}
