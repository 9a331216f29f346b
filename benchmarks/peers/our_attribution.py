"""Run by our own Python: our traces, asked for and timed exactly as circuit-tracer's are.

python our_attribution.py steps    a request per line of JSON, an answer per line: first what to load, then what to
                                   trace, or how large a matrix product to time
"""

import json
import sys
import time

import torch
from asked import forget_peak, memory_mb
from safetensors.torch import save_file

import micrographia as mg
from micrographia.bases.basis import Basis
from micrographia.bases.named import choose_basis
from micrographia.graph.peer import PeerMatrix, PeerPruning
from micrographia.graph.prune import prune
from micrographia.graph.select import Everything, PeerRanking, Reaching, Selection
from micrographia.graph.trace import Trace
from micrographia.graph.tracing import trace
from micrographia.model.anatomy import Anatomy
from micrographia.model.model import Model


class Meter:
    """Seconds on the wall and of this process, and the most memory that was resident while it ran."""

    def __enter__(self) -> "Meter":
        forget_peak()
        self.start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self.start[0], time.process_time() - self.start[1]
        self.peak_mb = memory_mb()


def rule_of(request: dict) -> Selection:
    match request:
        case {"rule": "ranking"}:
            return PeerRanking(request["max_nodes"], request["batch_size"], request["update_interval"])
        case {"rule": "reaching"}:
            return Reaching(1.0, request["max_nodes"])
        case _:
            return Everything()


def saved(traced: Trace, pruned: PeerPruning) -> dict[str, torch.Tensor]:
    n = traced.nodes
    features = torch.stack([n.layer[n.features], n.position[n.features], n.index[n.features]], 1)
    return {
        "rows": PeerMatrix.of_trace(traced).rows,
        "features": features[features[:, 1] > 0],
        "nodes": torch.cat([pruned.features, pruned.errors]),
        "edges": pruned.edges,
    }


def answer(model: Model, basis: Basis, request: dict) -> dict[str, float]:
    if "product" in request:
        return product(request["product"])
    prompt = model.tokenizer.from_ids(request["ids"])
    with Meter() as tracing:
        traced = trace(model, basis, prompt, selection=rule_of(request), dtype=request["dtype"])
    times: dict[str, list[tuple[float, float]]] = {"peer": [], "ours": []}
    for _ in range(request.get("prunings", 1)):
        with Meter() as pruning:
            pruned = PeerMatrix.of_trace(traced).prune()
        times["peer"].append((pruning.cpu, pruning.wall))
        with Meter() as pruning:
            prune(traced)
        times["ours"].append((pruning.cpu, pruning.wall))
    if "save" in request:
        save_file({name: part.contiguous() for name, part in saved(traced, pruned).items()}, request["save"])
    return {
        "wall": tracing.wall,
        "cpu": tracing.cpu,
        "peak_mb": tracing.peak_mb,
        "prune_cpu": min(times["peer"])[0],
        "prune_wall": min(times["peer"])[1],
        "own_prune_cpu": min(times["ours"])[0],
        "active": traced.facts.n_active,
        "nodes": traced.nodes.n_features,
        "flops": floor(traced, model.anatomy),
    }


def floor(traced: Trace, a: Anatomy) -> float:
    """Multiplications and additions that the rows need if each is carried through what lies below it, and no more."""
    n = traced.nodes
    position, below = n.position[traced.row_node] + 1.0, n.layer[traced.row_node].double()
    below[n.n_features :] = a.n_layers
    attentions = below.add(1).clamp(max=a.n_layers)
    heads, kv, pairs = a.n_heads * a.d_head, a.n_kv_heads * a.d_head, position * (position + 1) / 2
    carried = attentions * (position * 2 * a.d_model * (heads + kv) + 2 * heads * pairs)
    active = traced.facts.n_active / (a.n_layers * n.n_positions)
    read = 2 * a.d_model * position * (below * (active + 1) + 1)
    return float((carried + read).sum())


def product(size: int) -> dict[str, float]:
    a, b = torch.randn(size, size), torch.randn(size, size)
    times = []
    for _ in range(5):
        with Meter() as meter:
            a @ b
        times.append(meter.cpu)
    return {"gflops": 2 * size**3 / min(times) / 1e9}


def main() -> None:
    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr
    load = json.loads(sys.stdin.readline())
    before = memory_mb()
    model = mg.open(dtype=load.get("dtype", "float32"), device="cpu").model
    basis = choose_basis(model, load["basis"]).basis
    basis.decompose(mg.Microscope(model).freeze("warm"))
    with Meter() as after:
        pass
    print(json.dumps({"before_mb": before}), file=answers, flush=True)
    for line in sys.stdin:
        found = answer(model, basis, json.loads(line)) | {"loaded_mb": after.peak_mb}
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
