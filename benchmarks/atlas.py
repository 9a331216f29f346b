"""What an atlas costs beside delphi's cache: over reading the text alone, in memory, in bytes, and to be asked.

    python -m benchmarks.atlas --corpus CORPUS [--dtype float32] [--blocks 62] [--beside 2 8 20] [--out FILE]

**overhead**: the same blocks of text in turn through the model and the basis's encoders alone ("plain": activations in
a dense array; "products": before it is asked what of them is active), and into an atlas that `build_atlas` makes; the
first of them also into delphi's `LatentCache`, with and without it, on the same weights, encoders and tokens. Each
side has a process with one thread, and CPU time is its own. What both hold, what they write, and how long a feature
takes to be fetched. **memory**: one layer's real activations are fed again and again, each time
as other text, up to ten million positions into a sketch, up to a million into delphi's `InMemoryCache`. **workers**:
three layers of the basis, read by 1, 2 and 4 processes: whether all files are the same, byte for byte.

delphi 0.1.3 is installed by pip into an environment of its own when it is first asked. Its cache's CPU time is in
`benchmarks/peers/delphi_cache.py`, ours in `benchmarks/peers/our_atlas.py`.
"""

import argparse
import hashlib
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.machine import processor
from benchmarks.peers.running import Peer
from micrographia.atlas.atlas import Atlas
from micrographia.atlas.build import build_atlas, watches_of
from micrographia.atlas.harvest import Job, look
from micrographia.atlas.plan import AtlasConfig, LayerPlan
from micrographia.atlas.sketch import Active, Rows, Sketch
from micrographia.atlas.text import Text
from micrographia.atlas.watch import Watch
from micrographia.bases.activation import JumpRelu
from micrographia.bases.named import choose_basis
from micrographia.bases.transcoder import PerLayer, TranscoderLayer
from micrographia.corpus.corpus import Corpus
from micrographia.ids import Layer
from micrographia.model.checkpoint import locate
from micrographia.model.load import load_model
from micrographia.model.model import Model

PAIRED = 16
"""The first so many blocks are also read without keeping anything, and of the others every third."""
SIZES = (100_000, 1_000_000, 10_000_000)
CONFIG = AtlasConfig()
PER_BLOCK = CONFIG.block * (CONFIG.window - 1)


def plans(basis: PerLayer) -> tuple[LayerPlan, ...]:
    """Layers with a unit of one, which costs the same as any other."""
    return tuple(
        LayerPlan(layer=i, n_features=basis.layers[i].encoder.n_features, exponent=0) for i in sorted(basis.layers)
    )


def job_of(model: Model, basis: PerLayer, folder: Path) -> Job:
    watches = watches_of(plans(basis), basis, model)
    c = CONFIG
    return Job(model.weights, model.anatomy, watches, folder, c.block, c.span, c.shape, c.seed, 1e9)


def block_of(text: Text, number: int) -> Tensor:
    return torch.from_numpy(text.ids[number * CONFIG.block : (number + 1) * CONFIG.block].astype(np.int64))


def overhead(model: Model, basis: PerLayer, chosen: argparse.Namespace, place: Path) -> dict[str, dict[str, object]]:
    """The same blocks through our atlas and through delphi's cache, in turn; then through ours alone."""
    c = CONFIG
    text = Text.of(Corpus.open(chosen.corpus), "train", length=c.window, n_windows=chosen.blocks * c.block, seed=c.seed)
    windows = saved_windows(text, chosen.blocks, place)
    same = {"make": "read", "windows": str(windows), "dtype": chosen.dtype, "out": str(place / "ours")}
    ours = Peer("our atlas", keeping=False, basis=str(chosen.basis), corpus=str(chosen.corpus), **same)
    found: dict[str, dict[str, object]] = {}
    rows: list[Block] = []
    if chosen.beside:
        found["delphi"] = beside(model, basis, text, chosen.beside, ours, rows, place)
    for number in range(len(rows), chosen.blocks):
        rows.append(block_by(ours, number, ("plain", "products") if number < PAIRED or number % 3 == 0 else ()))
        print(number, rows[-1], flush=True)
    found["ours"] = summary(rows) | ended(ours) | fetching(place / "ours")
    print(table(found), flush=True)
    return found


def beside(
    model: Model, basis: PerLayer, text: Text, sizes: list[int], ours: Peer, rows: "list[Block]", place: Path
) -> dict[str, object]:
    """delphi's cache of some numbers of blocks, of the most of them in turn with our atlas, whose blocks are added."""
    wanted, found, taken = drawn(basis, 100), list[dict[str, object]](), list[Block]()
    for n in sizes:
        peer = delphi(model, basis, text, n, place)
        taken = [block_by(peer, number, ()) for number in range(n)] if n < max(sizes) else []
        for number in range(len(taken), n):
            rows.append(block_by(ours, number, ("plain", "products")))
            taken.append(block_by(peer, number, ("plain",)))
            print(number, rows[-1], taken[-1], flush=True)
        found.append(delphi_size(taken, peer, wanted, place / f"delphi-{n}"))
        print(found[-1], flush=True)
    at_most, there = {"at_10_million": extrapolated(found)}, n_active(model, basis, text, sizes[0])
    return summary(taken) | {"sizes": found, "active_in_first_size_by_ours": there} | at_most


@dataclass(frozen=True, slots=True)
class Block:
    """CPU seconds of a block without keeping anything, where that was measured, and with; what was resident then."""

    without: dict[str, float]
    cpu: float
    rss_mb: float


def saved_windows(text: Text, blocks: int, place: Path) -> Path:
    path = place / f"windows-{blocks}.npy"
    np.save(path, text.ids[: blocks * CONFIG.block])
    return path


def delphi(model: Model, basis: PerLayer, text: Text, blocks: int, place: Path) -> Peer:
    """delphi with the model's folder, the same encoders and the first so many blocks."""
    encoders = place / "encoders.safetensors"
    if not encoders.exists():
        save_file({name: part for i, each in basis.layers.items() for name, part in parts_of(i, each)}, encoders)
    paths = {"encoders": encoders, "windows": saved_windows(text, blocks, place), "out": place / f"delphi-{blocks}"}
    named = {name: str(path) for name, path in paths.items()}
    dtype = str(model.dtype).removeprefix("torch.")
    folder = str(locate(None).folder)
    return Peer("delphi", keeping=False, make="read", model=folder, batch=CONFIG.block, dtype=dtype, **named)


def parts_of(layer: int, of: TranscoderLayer) -> list[tuple[str, Tensor]]:
    e = of.encoder
    assert isinstance(e.rule, JumpRelu), "delphi's side of this benchmark encodes by thresholds"
    named = {"weight": e.weight, "bias": e.bias, "threshold": e.rule.threshold.to(e.weight.dtype)}
    return [(f"{layer}.{name}", part.contiguous()) for name, part in named.items()]


def block_by(side: Peer, number: int, without: tuple[str, ...]) -> Block:
    """One block, kept and not; what comes first changes from block to block."""
    names = ("keep", *without) if number % 2 else (*without, "keep")
    found = {name: side.ask(**{name: number}) for name in names}
    return Block({name: found[name]["cpu"] for name in without}, found["keep"]["cpu"], found["keep"]["rss_mb"])


def summary(rows: list[Block]) -> dict[str, object]:
    """What keeping costs over reading without it, in all and by quarters of the blocks."""
    found: dict[str, object] = {"positions": len(rows) * PER_BLOCK, "rss_mb": [each.rss_mb for each in rows]}
    for name in sorted({name for each in rows for name in each.without}):
        parts = np.array_split(np.arange(len(rows)), min(4, len(rows)))
        pairs = [[(rows[i].cpu, rows[i].without[name]) for i in part if name in rows[i].without] for part in parts]
        quarters = [sum(cpu for cpu, _ in part) / sum(alone for _, alone in part) - 1 for part in pairs]
        every = [alone for part in pairs for _, alone in part]
        found[f"over_{name}"] = {
            "alone_us": 1e6 * sum(every) / len(every) / PER_BLOCK,
            "overhead": float(np.average(quarters, weights=list(map(len, parts)))),
            "by_positions_before": {int(part[0]) * PER_BLOCK: q for part, q in zip(parts, quarters, strict=True)},
            "median_last": statistics.median(cpu / alone - 1 for cpu, alone in pairs[-1]),
        }
    return found


def ended(ours: Peer) -> dict[str, object]:
    """Let our builder join and write what it has; `begin` and `finish` do not depend on how much was read."""
    done = ours.ask(finish=True)
    begin = {"before_mb": ours.before_mb, "begin_cpu": ours.made["cpu"]}
    return begin | done | {"writing_once_a_minute": done["save_cpu"] / 60}


def delphi_size(rows: list[Block], peer: Peer, wanted: list[tuple[str, int]], out: Path) -> dict[str, object]:
    """Let delphi join and write what it has, then ask it for features; the files are removed."""
    done = peer.ask(finish=True)
    asked = peer.ask(make="fetch", out=str(out), model=str(locate(None).folder), wanted=wanted)
    cpu = np.array(asked.pop("cpu"))
    peer.close()
    shutil.rmtree(out)
    positions = len(rows) * PER_BLOCK
    sizes = {"positions": positions, "before_mb": peer.before_mb, "rss_mb": rows[-1].rss_mb, **done}
    times = {"median": 1e3 * float(np.median(cpu)), "p99": 1e3 * float(np.quantile(cpu, 0.99))}
    return sizes | {"bytes_per_feature": done["bytes"] / done["features"], "fetch_cpu_ms": times} | asked


def extrapolated(sizes: list[dict[str, object]]) -> dict[str, float]:
    """What straight lines through the sizes say of ten million positions."""
    names = ("rss_mb", "peak_mb", "bytes_per_feature")
    if len(sizes) < 2:
        return {}
    x = [each["positions"] for each in sizes]
    return {name: float(np.polyval(np.polyfit(x, [each[name] for each in sizes], 1), SIZES[-1])) for name in names}


def n_active(model: Model, basis: PerLayer, text: Text, blocks: int) -> int:
    """How many activations there are in the first blocks: as many as delphi keeps behind the first position, but for
    the rounding of two programs."""
    job, found = job_of(model, basis, Path()), [0]

    def see(watch: Watch, act: Tensor) -> None:
        found[0] += len(watch(act, CONFIG.span).row)

    for number in range(blocks):
        look(job, block_of(text, number), see)
    return found[0]


def table(found: dict[str, dict]) -> str:
    """What both sides took, side by side."""
    both = {name: found[name] for name in ("ours", "delphi") if name in found}
    sides = [(name, whole, whole.get("sizes", [whole])[-1]) for name, whole in both.items()]
    lines = {
        "positions": [f"{whole['positions']:,}" for _, whole, _ in sides],
        "encoding alone, µs per position": [f"{each['over_plain']['alone_us']:,.0f}" for _, each, _ in sides],
        "overhead": [f"{whole['over_plain']['overhead']:.1%}" for _, whole, _ in sides],
        "resident, loaded and in the end, MB": [f"{end['before_mb']:,.0f}, {end['peak_mb']:,.0f}" for *_, end in sides],
        "bytes per feature": [f"{end['bytes_per_feature']:,.0f}" for *_, end in sides],
        "fetching a feature, CPU ms: median, p99": [
            f"{end['fetch_cpu_ms']['median']:.3f}, {end['fetch_cpu_ms']['p99']:.3f}" for *_, end in sides
        ],
    }
    head = ["", *(name for name, *_ in sides)]
    rows = [head, ["---"] * len(head), *([name, *cells] for name, cells in lines.items())]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def drawn(basis: PerLayer, n: int) -> list[tuple[str, int]]:
    """Features at random, as delphi calls them."""
    chance, layers = np.random.default_rng(0), sorted(basis.layers)
    some = chance.integers(len(layers), size=n)
    return [(f"layers.{layers[i]}.mlp", int(chance.integers(basis.layers[layers[i]].encoder.n_features))) for i in some]


def memory(model: Model, basis: PerLayer, corpus: Corpus, folder: Path) -> dict[str, object]:
    """One layer's sketch up to ten million positions of replayed activations, with contexts that are new each time."""
    c, layer = CONFIG, sorted(basis.layers)[len(basis.layers) // 2]
    text = Text.of(corpus, "train", length=c.window, n_windows=4 * c.block, seed=0)
    one = PerLayer({layer: basis.layers[layer]})
    job = job_of(model, one, Path())
    held: list[tuple[Active, Rows]] = []
    dense: list[Tensor] = []

    def see(rows: Rows, watch: Watch, act: Tensor) -> None:
        held.append((watch(act, c.span), rows))
        dense.append(one.layers[layer].encoder(act[:, 1:].flatten(0, 1)).unflatten(0, (c.block, -1)))

    for number in range(4):
        look(job, block_of(text, number), partial(see, text.rows(number * c.block, c.block, 0)))
    sketch, found, at, start = Sketch(job.watches[0].n_features, c.shape), list[dict[str, float]](), 0, 0.0
    active, per_block = sum(len(each.row) for each, _ in held), len(held[0][1].place)
    for size in SIZES:
        before, start = at, time.process_time()
        while at < size:
            each, rows = held[at // per_block % 4]
            mixed = (rows.context ^ np.uint64(at)) * np.uint64(0x9E3779B97F4A7C15)
            place = (np.arange(at, at + per_block) % (1 << 32)).astype(np.uint32)
            sketch.add(each, Rows(place, mixed ^ mixed >> np.uint64(31)))
            at += per_block
        seconds = time.process_time() - start
        n_bytes = sum(array.nbytes for array in sketch.arrays().values())
        found.append(
            {
                "positions": at,
                "sketch_mb": n_bytes / 1e6,
                "bytes_per_feature": n_bytes / sketch.n_features,
                "us_per_position": 1e6 * seconds / (at - before),
            }
        )
        print(found[-1], flush=True)
    save_file(
        {"acts": torch.stack(dense), "tokens": block_of(text, 0)[:, 1:].contiguous()}, folder / "acts.safetensors"
    )
    peer = Peer("delphi", keeping=False, make="replay", acts=str(folder / "acts.safetensors"), sizes=SIZES[:-1])
    return {"layer": int(layer), "active_per_position": active / 4 / per_block, "sizes": found, "delphi": peer.made}


def workers(model: Model, basis: PerLayer, corpus: Corpus, place: Path) -> dict[str, object]:
    """The same small atlas by 1, 2 and 4 processes; then what it weighs, and how fast it answers."""
    chosen = sorted(basis.layers)[:: max(1, len(basis.layers) // 3)][:3]
    some = PerLayer({Layer(i): basis.layers[i] for i in chosen})
    config = AtlasConfig(tokens=8 * 4 * 255, block=4)
    sums: dict[int, str] = {}
    for n in (1, 2, 4):
        folder = place / f"by-{n}"
        build_atlas(model, some, corpus, folder, name="some", config=config, workers=n)
        digest = hashlib.sha256()
        for path in sorted(folder.iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
        sums[n] = digest.hexdigest()
        print(f"{n} workers: {sums[n]}", flush=True)
    return {"sha256": sums, "identical": len(set(sums.values())) == 1}


def fetching(folder: Path, n: int = 4000) -> dict[str, object]:
    """Bytes per feature, and the time that random features take, CPU and wall."""
    atlas = Atlas.open(folder)
    chance = np.random.default_rng(0)
    cpu: list[float] = []
    wall: list[float] = []
    for layer in atlas.layers:
        atlas.feature(layer, 0)
    for _ in range(n):
        layer = atlas.layers[chance.integers(len(atlas.layers))]
        index = int(chance.integers(atlas.n_features(layer)))
        start, clock = time.process_time(), time.perf_counter()
        atlas.feature(layer, index)
        cpu.append(time.process_time() - start)
        wall.append(time.perf_counter() - clock)
    n_features = sum(atlas.n_features(layer) for layer in atlas.layers)
    text = atlas.manifest.files[0].size
    return {
        "bytes_per_feature": (atlas.manifest.size - text) / n_features,
        "text_bytes": text,
        "fetch_cpu_ms": {"median": 1e3 * float(np.median(cpu)), "p99": 1e3 * float(np.quantile(cpu, 0.99))},
        "fetch_wall_ms": {"median": 1e3 * float(np.median(wall)), "p99": 1e3 * float(np.quantile(wall, 0.99))},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--basis", default="transcoders")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--blocks", type=int, default=62, help="blocks of 4,080 positions that ours reads")
    parser.add_argument("--beside", type=int, nargs="*", default=[2, 8, 20], help="and those that delphi reads")
    parser.add_argument("--only", nargs="*", default=["overhead", "memory", "workers"])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(dtype=chosen.dtype, device="cpu")
    basis = choose_basis(model, chosen.basis).basis
    assert isinstance(basis, PerLayer), "this benchmark is of per-layer transcoders"
    corpus, kept = Corpus.open(chosen.corpus), tempfile.TemporaryDirectory()
    place = Path(kept.name)
    parts = {
        "overhead": lambda: overhead(model, basis, chosen, place),
        "memory": lambda: memory(model, basis, corpus, place),
        "workers": lambda: workers(model, basis, corpus, place),
    }
    found: dict[str, object] = {}
    if chosen.out is not None and chosen.out.exists():
        found = json.loads(chosen.out.read_text())
    found |= {"machine": processor(), "torch": torch.__version__, "basis": Path(chosen.basis).name}
    found |= {"layers": len(basis.layers), "features": basis.layers[min(basis.layers)].encoder.n_features}
    for name in chosen.only:
        key = f"{name}, {chosen.dtype}"
        found[key] = parts[name]()
        print(json.dumps(found[key], indent=1), flush=True)
        if chosen.out is not None:
            chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    kept.cleanup()


if __name__ == "__main__":
    main()
