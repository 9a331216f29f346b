"""What an atlas costs: over reading the text alone, in memory, in bytes, and to be asked.

    python -m benchmarks.atlas --basis BASIS --corpus CORPUS [--blocks 24] [--only overhead memory] [--out atlas.json]

**overhead**: the same blocks of text, in turn, once through the model and the basis's encoders, once into sketches too;
CPU time of one thread, by how much text was there before. **memory**: one layer's real activations are fed again and
again, each time as other text, up to ten million positions; what its sketch holds, and what it adds per position,
beside a list of all activations as delphi's cache keeps them (28 bytes each: three 64-bit numbers and a 32-bit one).
**workers**: three layers of the basis, read by 1, 2 and 4 processes: whether all files are the same, byte for byte;
bytes per feature, and the time to fetch one.
"""

import argparse
import hashlib
import json
import platform
import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.build import build_atlas, watches_of
from micrographia.atlas.harvest import Job, look
from micrographia.atlas.plan import AtlasConfig, LayerPlan
from micrographia.atlas.sketch import Active, Rows, Sketch
from micrographia.atlas.text import Text
from micrographia.atlas.watch import EncoderWatch, Watch
from micrographia.bases.named import choose_basis
from micrographia.bases.transcoder import PerLayer
from micrographia.corpus.corpus import Corpus
from micrographia.ids import Layer
from micrographia.model.load import load_model
from micrographia.model.model import Model

DELPHI_BYTES = 28
SIZES = (100_000, 1_000_000, 10_000_000)
CONFIG = AtlasConfig()


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


def overhead(model: Model, basis: PerLayer, corpus: Corpus, blocks: int) -> dict[str, object]:
    """CPU seconds of each block: encoded only, and harvested."""
    c = CONFIG
    text = Text.of(corpus, "train", length=c.window, n_windows=blocks * c.block, seed=0)
    job = job_of(model, basis, Path())
    sketches = {watch.layer: Sketch(watch.n_features, c.shape) for watch in job.watches}

    def encode(watch: Watch, act: Tensor) -> None:
        assert isinstance(watch, EncoderWatch)
        watch.encoder(act[:, 1:].flatten(0, 1))

    def harvest(rows: Rows, watch: Watch, act: Tensor) -> None:
        sketches[watch.layer].add(watch(act, c.span), rows)

    plain: list[float] = []
    whole: list[float] = []
    look(job, block_of(text, 0)[:2], encode)
    for number in range(blocks):
        ids, rows = block_of(text, number), text.rows(number * c.block, c.block, 0)
        for see, taken in ((encode, plain), (partial(harvest, rows), whole)):
            start = time.process_time()
            look(job, ids, see)
            taken.append(time.process_time() - start)
        print(f"block {number}: {plain[-1]:.2f} s encoded, {whole[-1]:.2f} s harvested", flush=True)
    per_block = c.block * (c.window - 1)
    thirds = [list(part) for part in np.array_split(np.arange(blocks), min(4, blocks))]
    return {
        "positions": blocks * per_block,
        "plain_us": 1e6 * sum(plain) / blocks / per_block,
        "harvest_us": 1e6 * sum(whole) / blocks / per_block,
        "overhead": sum(whole) / sum(plain) - 1,
        "overhead_by_positions_before": {
            int(part[0]) * per_block: sum(whole[i] for i in part) / sum(plain[i] for i in part) - 1 for part in thirds
        },
        "median_overhead_last": statistics.median(whole[i] / plain[i] - 1 for i in thirds[-1]),
    }


def memory(model: Model, basis: PerLayer, corpus: Corpus) -> dict[str, object]:
    """One layer's sketch up to ten million positions of replayed activations, with contexts that are new each time."""
    c, layer = CONFIG, sorted(basis.layers)[len(basis.layers) // 2]
    text = Text.of(corpus, "train", length=c.window, n_windows=4 * c.block, seed=0)
    one = PerLayer({layer: basis.layers[layer]})
    job = job_of(model, one, Path())
    held: list[tuple[Active, Rows]] = []
    for number in range(4):
        rows = text.rows(number * c.block, c.block, 0)
        look(job, block_of(text, number), lambda watch, act, rows=rows: held.append((watch(act, c.span), rows)))
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
                "list_mb": at * active / 4 / per_block * DELPHI_BYTES / 1e6,
                "us_per_position": 1e6 * seconds / (at - before),
            }
        )
        print(found[-1], flush=True)
    return {"layer": int(layer), "active_per_position": active / 4 / per_block, "sizes": found}


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
    return {"sha256": sums, "identical": len(set(sums.values())) == 1, **fetching(place / "by-1")}


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
    parser.add_argument("--basis", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--only", nargs="*", default=["overhead", "memory", "workers"])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(dtype=chosen.dtype, device="cpu")
    basis = choose_basis(model, chosen.basis).basis
    assert isinstance(basis, PerLayer), "this benchmark is of per-layer transcoders"
    corpus, place = Corpus.open(chosen.corpus), Path(tempfile.mkdtemp())
    parts = {
        "overhead": lambda: overhead(model, basis, corpus, chosen.blocks),
        "memory": lambda: memory(model, basis, corpus),
        "workers": lambda: workers(model, basis, corpus, place),
    }
    found: dict[str, object] = {}
    if chosen.out is not None and chosen.out.exists():
        found = json.loads(chosen.out.read_text())
    found |= {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, "dtype": chosen.dtype}
    found |= {"layers": len(basis.layers), "features": basis.layers[min(basis.layers)].encoder.n_features}
    for name in chosen.only:
        found[name] = parts[name]()
        print(json.dumps(found[name], indent=1), flush=True)
        if chosen.out is not None:
            chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
