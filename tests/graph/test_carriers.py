"""An edge taken apart over the heads that carry it: the parts add up to the graph's own edge, and each part is what the
edge loses when other heads are cut out of the frozen model."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from micrographia.bases.basis import Decomposition
from micrographia.errors import CallError
from micrographia.graph.build import graph_of
from micrographia.graph.carriers import Carriers, carriers
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind, NodeId
from micrographia.graph.targets import OfFeature, TargetRow, Tokens, resolve
from micrographia.graph.tracing import trace
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from tests.graph.oracle import BASES, basis_for, jacobian, prompt

EXACT = 1e-9

Cut = Callable[[int, Tensor], Tensor]


def row_of(found: Decomposition, model: Model, graph: Graph, name: NodeId) -> TargetRow:
    if name.kind == Kind.FEATURE:
        assert name.layer is not None
        assert name.index is not None
        assert name.position is not None
        return resolve(OfFeature(name.layer, name.index, name.position), found, model.tokenizer)[0]
    token = graph.targets[name.index or 0].token
    assert token is not None
    return resolve(Tokens((token,)), found, model.tokenizer)[0]


def split(found: Decomposition, model: Model, graph: Graph, edge: int) -> tuple[NodeId, NodeId, Carriers]:
    source, target = (graph.nodes.id(int(column[edge])) for column in (graph.edges.source, graph.edges.target))
    return source, target, carriers(found, source, row_of(found, model, graph, target))


def some_edges(graph: Graph, n: int) -> list[int]:
    """Of every kind of source and target, and the heaviest."""
    e, kind = graph.edges, graph.nodes.kind
    order = sorted(range(len(e)), key=lambda i: -abs(e.weight[i]))
    chosen: dict[tuple[int, int], list[int]] = {}
    for i in order:
        chosen.setdefault((int(kind[e.source[i]]), int(kind[e.target[i]])), []).append(i)
    return [i for (source, _), edges in chosen.items() if source != Kind.BIAS for i in edges[:n]]


@pytest.mark.parametrize("basis", BASES)
def test_the_parts_add_up_to_the_edge_of_the_graph(model: Model, basis: str) -> None:
    given = basis_for(basis, model)
    tokens = prompt(model, 6)
    found = given.decompose(freeze(model, tokens))
    graph = graph_of(trace(model, given, tokens, target="t7"), node_share=1.0, edge_share=1.0)
    chosen = some_edges(graph, 4)
    assert len(chosen) >= 8
    for i in chosen:
        source, target, parts = split(found, model, graph, i)
        weight = float(graph.edges.weight[i])
        assert parts.edge == pytest.approx(weight, rel=EXACT, abs=1e-12), (source, target)
        for some in (parts.last, parts.first):
            assert parts.direct + float(some.sum()) == pytest.approx(weight, rel=EXACT, abs=1e-12), (source, target)


def with_heads(found: Decomposition, keep: Cut) -> Decomposition:
    """Patterns of heads that are cut out are zero."""
    layers = tuple(
        replace(held, pattern=held.pattern * keep(layer, torch.arange(len(held.pattern)))[:, None, None])
        for layer, held in enumerate(found.frozen.layers)
    )
    return replace(found, frozen=replace(found.frozen, layers=layers))


@pytest.mark.parametrize(("case", "basis"), [("llama", "skip"), ("gemma2", "cross-layer"), ("neox", "skip")])
def test_each_part_is_what_is_lost_without_other_heads(tiny: Callable[[str], Model], case: str, basis: str) -> None:
    """Autograd on a model with heads cut out knows nothing of how the parts are found."""
    model = tiny(case)
    found = basis_for(basis, model).decompose(freeze(model, prompt(model, 5)))
    n = [len(layer.feature) for layer in found.layers]
    top = found.layers[2]
    row = sum(n[:2]) + int((top.position == 4).nonzero()[0, 0])
    column = int((found.layers[0].position <= 2).nonzero()[-1, 0])
    below = found.layers[0]
    source = NodeId(Kind.FEATURE, 0, int(below.position[column]), int(below.feature[column]))
    target = OfFeature(2, int(top.feature[row - sum(n[:2])]), 4)
    parts = carriers(found, source, resolve(target, found, model.tokenizer)[0])

    def edge(keep: Cut) -> float:
        return float(jacobian(with_heads(found, keep))[row, column])

    def every(_: int, heads: Tensor) -> Tensor:
        return torch.ones_like(heads)

    assert parts.edge == pytest.approx(edge(every), rel=EXACT)
    assert parts.direct == pytest.approx(edge(lambda _, heads: torch.zeros_like(heads)), rel=EXACT, abs=1e-15)
    two_in_a_row = not model.anatomy.parallel  # there, the MLP of layer 2 reads nothing of its own layer's heads
    assert (abs(parts.several) > 1e-12) == two_in_a_row
    for at in range(2):
        for head in range(model.anatomy.n_heads):
            one = (at, head)
            without = edge(lambda i, heads, one=one: ~((i == one[0]) & (heads == one[1])))
            assert float(parts.through[one]) == pytest.approx(parts.edge - without, rel=1e-7, abs=1e-13)
            last = edge(lambda i, heads, one=one: (i < one[0]) | ((i == one[0]) & (heads == one[1])))
            none = edge(lambda i, heads, one=one: torch.full_like(heads, i < one[0]))
            assert float(parts.last[one]) == pytest.approx(last - none, rel=1e-7, abs=1e-13)
            first = edge(lambda i, heads, one=one: (i > one[0]) | ((i == one[0]) & (heads == one[1])))
            none = edge(lambda i, heads, one=one: torch.full_like(heads, i > one[0]))
            assert float(parts.first[one]) == pytest.approx(first - none, rel=1e-7, abs=1e-13)
            alone = edge(lambda i, heads, one=one: (heads == one[1]) & torch.full_like(heads, i == one[0], dtype=bool))
            assert float(parts.only[one]) == pytest.approx(alone - parts.direct, rel=1e-7, abs=1e-13)


def test_at_one_position_nothing_is_carried_to_another(tiny: Callable[[str], Model]) -> None:
    """The last token's own embedding reaches its target past all heads, or through heads that look at it themselves."""
    model = tiny("llama")
    found = basis_for("per-layer", model).decompose(freeze(model, prompt(model, 1)))
    row = resolve("t7", found, model.tokenizer)[0]
    parts = carriers(found, NodeId(Kind.TOKEN, position=0), row)
    assert parts.direct == pytest.approx(float(found.frozen.embed[0] @ row.injections[0].vector))
    assert parts.edge != pytest.approx(parts.direct)


@pytest.mark.parametrize("source", ["bias", "target.0", "0.79@0", "token@9", "error.7@0"])
def test_what_writes_nowhere_by_itself_is_refused(tiny: Callable[[str], Model], source: str) -> None:
    model = tiny("llama")
    found = basis_for("per-layer", model).decompose(freeze(model, prompt(model, 2)))
    with pytest.raises(CallError, match=r"edge"):
        carriers(found, NodeId.parse(source), resolve("t7", found, model.tokenizer)[0])
