"""What training costs: a step, the whole of it, and a cross-layer step, each beside what the field does.

    python -m benchmarks.training --corpus CORPUS [--quick] [--only layer trainer cross] [--out training.json]

**layer**: one step of a per-layer transcoder with a skip path on the same real activations (`k` 32), against sparsify's
own module and optimiser, at the best of its settings that are tried first. **trainer**: both trainers on the embedded
model, all layers, forward passes included. **cross**: one step of a cross-layer transcoder against dense autograd, the
way public trainers of them decode, in float32 and in bfloat16.

Each side has a process of its own with one thread; they are asked in turn, round after round, and the medians over
rounds of CPU microseconds per token are compared, and wall time beside them. Memory is what a process needed on top of
its imports. The roofline is this core's fastest matrix product, measured in the same rounds. With `--only`, what was
measured before stays in the file.
"""

import argparse
import json
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import micrographia as mg
from benchmarks.machine import processor
from benchmarks.peers.running import Peer
from benchmarks.quality import windows_file
from micrographia.corpus.corpus import Corpus
from micrographia.model.checkpoint import locate

PLACE = Path(__file__).parents[1] / ".cache" / "benchmarks" / "training"
ROWS, LAYERS, LAYER = 4096, 12, 10
K, D_MODEL = 32, 576
SETTINGS = {
    "float32": {"autocast": False, "pieces": 1},
    "float32, 8 pieces": {"autocast": False, "pieces": 8},
    "autocast": {"autocast": True, "pieces": 1},
    "autocast, 4 pieces": {"autocast": True, "pieces": 4},
    "autocast, 8 pieces": {"autocast": True, "pieces": 8},
}
"""Of sparsify; the first, with the allocator as it is, is what it does on a CPU by itself."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One side of one comparison: medians over rounds."""

    what: str
    case: str
    cpu_us: float
    """Per token."""
    low: float
    high: float
    wall_us: float
    memory_mb: float
    fvu: float | None = None

    def line(self, baseline: float) -> str:
        return (
            f"{self.case:<12} {self.what:<30} {self.cpu_us:>9.1f} {self.low:>8.1f}–{self.high:<8.1f}"
            f"{self.wall_us:>9.1f} {self.memory_mb:>9.0f} {baseline / self.cpu_us:>7.2f}×"
        )


HEAD = f"{'case':<12} {'what':<30} {'CPU µs':>9} {'range':>17}{'wall µs':>9} {'MB':>9} {'':>7}"


@torch.no_grad()
def rows_file(corpus: Path) -> Path:
    """Inputs and outputs of the first MLPs on held-out text, and their weights: what every step is given."""
    path = PLACE / f"rows-{Corpus.open(corpus).sha256[:12]}.safetensors"
    if path.exists():
        return path
    model = mg.open(dtype="float32", device="cpu").model
    windows = Corpus.open(corpus).windows("heldout", 256, seed=0)
    found: dict[str, list[Tensor]] = {f"{side}.{layer}": [] for layer in range(LAYERS) for side in "xy"}
    for number in range(-(-ROWS // 255)):
        prompt = model.tokenizer.from_ids(windows[number].ids.tolist())
        run = model.run(prompt, read=("mlp_in", "mlp_out"), logits="none")
        for layer in range(LAYERS):
            found[f"x.{layer}"].append(run[f"mlp_in.{layer}"][0, 1:])
            found[f"y.{layer}"].append(run[f"mlp_out.{layer}"][0, 1:])
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
    tensors = {name: torch.cat(parts)[order].bfloat16().contiguous() for name, parts in found.items()}
    for layer in range(LAYERS):
        mlp = model.weights.blocks[layer].mlp
        assert mlp.gate is not None
        tensors |= {f"gate.{layer}": mlp.gate.weight, f"up.{layer}": mlp.up.weight, f"down.{layer}": mlp.down.weight}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path


def interleaved(peers: Mapping[str, Peer], case: str, rounds: int, steps: Mapping[str, int]) -> dict[str, Figure]:
    """Ask everybody in turn; the first answer of each is for warming up."""
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in peers}
    for number in range(rounds + 1):
        for name, peer in peers.items():
            answer = peer.ask(steps=steps.get(name, 1))
            if number:
                answers[name].append(answer)
    return {name: figure(name, case, peers[name], found) for name, found in answers.items()}


def figure(name: str, case: str, peer: Peer, answers: list[dict[str, float]]) -> Figure:
    cpu, wall = ([1e6 * a[kind] / a["tokens"] for a in answers] for kind in ("cpu", "wall"))
    memory = answers[-1]["peak_mb"] - peer.before_mb
    return Figure(
        name, case, statistics.median(cpu), min(cpu), max(cpu), statistics.median(wall), memory, answers[-1].get("fvu")
    )


def closed(peers: Mapping[str, Peer]) -> None:
    for peer in peers.values():
        peer.close()


# ------------------------------------------------------------ one layer


def sparsify_layer(rows: Path, batch: int, features: int, setting: str, *, keeping: bool = True) -> Peer:
    return Peer(
        "sparsify",
        keeping=keeping,
        make="layer",
        rows=str(rows),
        layer=LAYER,
        batch=batch,
        features=features,
        k=K,
        skip=True,
        optimizer="signum",
        **SETTINGS[setting],
    )


def best_setting(rows: Path, batch: int, features: int) -> tuple[str, dict[str, float]]:
    """At which settings sparsify's step takes least, each tried for a few steps by itself."""
    tried: dict[str, float] = {}
    for setting in SETTINGS:
        peer = sparsify_layer(rows, batch, features, setting)
        tried[setting] = min(1e6 * peer.ask(steps=1)["cpu"] / batch for _ in range(3))
        peer.close()
    return min(tried, key=lambda setting: tried[setting]), tried


def layer_case(rows: Path, batch: int, features: int, rounds: int, steps: int) -> tuple[list[Figure], dict[str, float]]:
    best, tried = best_setting(rows, batch, features)
    plain = next(iter(SETTINGS))
    same = {
        "make": "layer",
        "rows": str(rows),
        "layer": LAYER,
        "batch": batch,
        "features": features,
        "k": K,
        "skip": True,
    }
    product = {"make": "product", "rows": batch, "inner": D_MODEL, "columns": features}
    peers = {
        "sparsify, as it is": sparsify_layer(rows, batch, features, plain, keeping=False),
        f"sparsify, {best}": sparsify_layer(rows, batch, features, best),
        "ours, float32": Peer("ours", precision="fp32", **same),
        "ours, bfloat16": Peer("ours", precision="bf16", **same),
        "encoder's product, float32": Peer("ours", dtype="float32", **product),
        "encoder's product, bfloat16": Peer("ours", dtype="bfloat16", **product),
    }
    try:
        found = interleaved(peers, f"F {features}", rounds, dict.fromkeys(peers, steps))
    finally:
        closed(peers)
    return list(found.values()), tried


def peak(dtype: str) -> float:
    """GFLOP/s of the largest of three runs of a large square product."""
    peer = Peer("ours", make="product", rows=2048, inner=2048, columns=2048, dtype=dtype)
    seconds = min(peer.ask(steps=8)["cpu"] / 8 for _ in range(3))
    peer.close()
    return 2 * 2048**3 / seconds / 1e9


# ------------------------------------------------------------ all layers


def trainer_case(corpus: Path, features: int, rounds: int, block: int) -> list[Figure]:
    work = PLACE / "trainers"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    theirs = {
        "model": str(locate(None).folder),
        "windows": str(windows_file(corpus, PLACE)),
        "window": 256,
        "features": features,
        "k": K,
        "skip": True,
        "sequences": 8,
        "pieces": 4,
        "autocast": True,
        "optimizer": "signum",
        "save_every": 1_000_000_000,
        "out": str(work / "sparsify"),
    }
    ours = {"corpus": str(corpus), "features": features, "k": K, "skip": True, "block": block}
    peers = {
        "sparsify's trainer": Peer("sparsify", make="trainer", **theirs),
        "ours, bfloat16": Peer("ours", make="trainer", folder=str(work / "ours"), precision="bf16", **ours),
    }
    try:
        found = interleaved(peers, f"F {features}", rounds, {"sparsify's trainer": max(1, block // 4096)})
    finally:
        closed(peers)
    return list(found.values())


# ------------------------------------------------------------ cross-layer


def cross_case(rows: Path, layers: int, features: int, batch: int, rounds: int) -> list[Figure]:
    """Two at a time, for the dense ones need much memory; ours takes part in both rounds of rounds."""
    size = {"rows": str(rows), "layers": layers, "features": features, "batch": batch, "k": K}
    figures: list[Figure] = []
    for name, autocast, precision in (("float32", False, "fp32"), ("bfloat16", True, "bf16")):
        peers = {
            f"dense autograd, {name}": Peer("ours", make="dense", autocast=autocast, **size),
            f"ours, {name}": Peer("ours", make="cross", precision=precision, **size),
        }
        try:
            figures += interleaved(peers, f"L {layers}", rounds, {}).values()
        finally:
            closed(peers)
    return figures


# ------------------------------------------------------------ all of it


def report(title: str, figures: list[Figure], baseline: str) -> None:
    """A table in which the last column is how many times less CPU time than the baseline something takes."""
    print(f"\n{title}\n{HEAD}")
    for each in figures:
        reference = next(f for f in figures if f.case == each.case and f.what.startswith(baseline))
        print(each.line(reference.cpu_us), flush=True)


def measure(chosen: argparse.Namespace) -> dict[str, object]:
    rows = rows_file(chosen.corpus)
    rounds, steps = (3, 2) if chosen.quick else (7, 4)
    results: dict[str, object] = {}
    if "layer" in chosen.only:
        peaks = {dtype: peak(dtype) for dtype in ("float32", "bfloat16")}
        print(f"Peak of this core: {peaks['float32']:.0f} GFLOP/s in float32, {peaks['bfloat16']:.0f} in bfloat16.")
        figures: list[Figure] = []
        tried: dict[str, dict[str, float]] = {}
        for features in chosen.features:
            found, tried[str(features)] = layer_case(rows, chosen.batch, features, rounds, steps)
            figures += found
        report("A step of one layer, per token; × against sparsify at its best", figures, "sparsify, autocast")
        results |= {"peak_gflops": peaks, "layer": figures, "sparsify_settings": tried}
    if "trainer" in chosen.only:
        figures = []
        for features in chosen.trainer_features:
            figures += trainer_case(chosen.corpus, features, *((2, 4096) if chosen.quick else (4, 8192)))
        report("All 30 layers, forward passes included, per token", figures, "sparsify")
        results["trainer"] = figures
    if "cross" in chosen.only:
        figures = []
        for layers in chosen.layers:
            figures += cross_case(rows, layers, 2048, chosen.cross_batch, 2 if chosen.quick else 5)
        report("A cross-layer step, F 2048, per token; × against dense float32", figures, "dense autograd, float32")
        results["cross"] = figures
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a measurement")
    parser.add_argument(
        "--only", nargs="+", choices=("layer", "trainer", "cross"), default=["layer", "trainer", "cross"]
    )
    parser.add_argument("--features", type=int, nargs="+", default=[2048, 4096, 8192])
    parser.add_argument("--trainer-features", type=int, nargs="+", default=[2048, 4096])
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 8, 12])
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--cross-batch", type=int, default=1024)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    results = measure(chosen)
    if chosen.out:
        machine = {"processor": processor(), "torch": torch.__version__, "threads": 1}
        before = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
        chosen.out.write_text(json.dumps(before | {"machine": machine} | results, indent=1, default=as_dict))


def as_dict(figure: object) -> dict[str, object]:
    return {name: getattr(figure, name) for name in Figure.__slots__}


if __name__ == "__main__":
    main()
