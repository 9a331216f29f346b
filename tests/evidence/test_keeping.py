"""Circuits kept and removed: all of the model, none of it, and by hand what lies between."""

import pytest
import torch

from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.keeping import circuit_curve
from micrographia.graph.build import graph_of
from micrographia.graph.graph import Graph
from micrographia.graph.select import Everything
from micrographia.graph.tracing import trace
from micrographia.model.site import Point
from tests.evidence.test_rows import bench_of


def references(bench: Bench) -> list[Bench]:
    texts = ("t7 t8 t20 t33 t41 t5 t6 t9 t10", "t4 t60 t61 t2 t9 t11", "t9 t9 t71 t2 t13 t14 t17")
    return [Bench(bench.model, bench.basis, bench.model.tokenizer.prompt(text, bos="none")) for text in texts]


def whole(bench: Bench) -> Graph:
    """A graph that shows every neuron."""
    found = trace(bench.model, bench.basis, bench.prompt, selection=Everything())
    return graph_of(found, bench.found, str, node_share=1.0, edge_share=1.0)


def by_hand(bench: Bench, kept: set[tuple[int, int, int]], others: list[Bench]) -> float:
    """Layer by layer, with the model's own run up to each."""
    outs: dict[str, torch.Tensor] = {}
    n = bench.n_positions
    for layer in range(bench.n_layers):
        edits = [_put(name, value) for name, value in outs.items()]
        x = bench.model.run(bench.prompt, edit=edits, read=["mlp_in"])[f"mlp_in.{layer}"][0]
        out = torch.cat([other.clean(Point.MLP_OUT, layer) for other in others]).mean(0).repeat(n, 1)
        mean = torch.cat([other.active(layer) for other in others]).mean(0)
        now = bench.encoder(layer)(x)
        for at, position, index in kept:
            if at == layer:
                out[position] += (now[position, index] - mean[index]) * bench.write(layer, [index], position, layer)[0]
        outs[f"mlp_out.{layer}"] = out
    logits = bench.model.run(bench.prompt, edit=[_put(name, value) for name, value in outs.items()]).logits[0, -1]
    one, other = bench.logits()[-1].topk(2).indices.tolist()
    return float(logits[one] - logits[other])


def _put(name: str, value: torch.Tensor):
    from micrographia.model.edits import at

    return at(name).set(value)


@pytest.mark.parametrize("ablation", ["mean", "resample"])
def test_all_neurons_keep_all_of_the_answer_and_take_as_much_with_them(tiny, ablation: str) -> None:
    bench = bench_of(tiny("llama"), "neurons", 6)
    curve = circuit_curve(bench, whole(bench), references(bench), ablation=ablation, sizes=(5, 20))
    last = curve.points[-1]
    assert [point.size for point in curve.points[:2]] == [5, 20]
    assert last.kept == pytest.approx(1.0, abs=1e-9)
    assert last.lost == pytest.approx(1.0, abs=1e-9)
    assert all(len(point.random_kept) == len(point.random_lost) == 5 for point in curve.points)


def test_a_part_keeps_what_a_model_run_by_hand_keeps(tiny) -> None:
    bench = bench_of(tiny("llama"), "neurons", 6)
    graph, others = whole(bench), references(bench)
    curve = circuit_curve(bench, graph, others, sizes=(25,))
    n = graph.nodes
    mine = [i for i in range(n.spans["feature"].stop) if n.position[i] >= bench.prompt.prepended]
    best = sorted(mine, key=lambda i: -float(n.influence[i]))[:25]
    kept = {(int(n.layer[i]), int(n.position[i]), int(n.index[i])) for i in best}
    assert bench.prompt.prepended == 0
    empty, some = by_hand(bench, set(), others), by_hand(bench, kept, others)
    assert curve.empty == pytest.approx(empty, abs=1e-9)
    assert curve.points[0].kept == pytest.approx((some - empty) / (curve.clean - empty), abs=1e-9)


def test_without_other_prompts_or_features_there_is_nothing_to_keep(tiny) -> None:
    bench = bench_of(tiny("llama"), "neurons", 6)
    graph = whole(bench)
    with pytest.raises(CallError, match="Without other prompts"):
        circuit_curve(bench, graph, [])
    with pytest.raises(CallError, match="no circuit to keep"):
        circuit_curve(bench, graph.subgraph([]), references(bench))
