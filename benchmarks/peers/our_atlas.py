"""Run by our own Python: an atlas built by `build_atlas`, block by block on request, timed exactly as delphi's cache.

python our_atlas.py steps    a request per line (JSON), an answer per line
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from micrographia.atlas.build import build_atlas, watches_of
from micrographia.atlas.harvest import Job, look
from micrographia.atlas.plan import AtlasConfig, LayerPlan
from micrographia.atlas.text import Text
from micrographia.atlas.watch import EncoderWatch, Watch
from micrographia.bases.named import choose_basis
from micrographia.bases.transcoder import PerLayer
from micrographia.corpus.corpus import Corpus
from micrographia.model.load import load_model

ANSWERS = os.fdopen(os.dup(1), "w")


def memory_mb(what: str) -> float:
    """Of this process: what is resident (`VmRSS`), or was at most since it was forgotten (`VmHWM`)."""
    return int(Path("/proc/self/status").read_text().split(f"{what}:")[1].split()[0]) / 1024


def hear() -> dict:
    return json.loads(sys.stdin.readline() or '{"end": true}')


def answer(**found: object) -> None:
    print(json.dumps(found), file=ANSWERS, flush=True)


class OnRequest:
    """A `Progress` that lets the builder go on to its next block when that is asked for, and tells what came of it."""

    def __init__(self, plain: Callable[[int], object]) -> None:
        self.plain, self.start, self.begun, self.since_last = plain, time.process_time(), False, 0.0

    def __call__(self, action: str, done: int, total: int) -> None:
        if action == "joining" and not self.since_last:
            self.since_last = time.process_time() - self.start
        if action != "reading":
            return
        seconds = time.process_time() - self.start
        if self.begun:
            answer(cpu=seconds, rss_mb=memory_mb("VmRSS"))
        else:
            Path("/proc/self/clear_refs").write_text("5")
            answer(before_mb=memory_mb("VmRSS"), cpu=seconds)
        self.begun = True
        self.wait("keep" if done < total else "finish")
        self.start = time.process_time()

    def wait(self, name: str) -> None:
        request = hear()
        while "plain" in request:
            start = time.process_time()
            self.plain(request["plain"])
            answer(cpu=time.process_time() - start)
            request = hear()
        if name not in request:
            sys.exit(f"asked for {request}")


def encode(watch: Watch, act: Tensor) -> None:
    assert isinstance(watch, EncoderWatch)
    watch.encoder(act[:, 1:].flatten(0, 1))


def read(basis: str, corpus: str, windows: str, dtype: str, out: str) -> None:
    """Build an atlas; then say what it weighs. `windows` are the ones that it reads, for what goes without sketches."""
    model, ids = load_model(dtype=dtype, device="cpu"), np.load(windows).astype(np.int64)
    chosen = choose_basis(model, basis).basis
    assert isinstance(chosen, PerLayer), "this benchmark is of per-layer transcoders"
    sizes = {layer: chosen.layers[layer].encoder.n_features for layer in sorted(chosen.layers)}
    plans = [LayerPlan(layer=layer, n_features=n, exponent=0) for layer, n in sizes.items()]
    c = AtlasConfig(tokens=len(ids) * (ids.shape[1] - 1), window=ids.shape[1])
    job = Job(
        model.weights, model.anatomy, watches_of(plans, chosen, model), Path(), c.block, c.span, c.shape, c.seed, 1e9
    )

    def plain(number: int) -> None:
        look(job, torch.from_numpy(ids[number * c.block : (number + 1) * c.block]), encode)

    look(job, torch.from_numpy(ids[:2]), encode)
    asked = OnRequest(plain)
    text = Corpus.open(corpus)
    manifest = build_atlas(model, chosen, text, Path(out), name="it", config=c, save_seconds=1e9, progress=asked)
    assert manifest is not None
    same = np.array_equal(Text.open(Path(out)).ids, ids)
    answer(
        same_text=same,
        peak_mb=memory_mb("VmHWM"),
        finish_cpu=time.process_time() - asked.start,
        save_cpu=asked.since_last,
        bytes=manifest.size,
        features=sum(sizes.values()),
        active=sum(manifest.active),
    )


def main() -> None:
    torch.set_num_threads(1)
    request = hear()
    request.pop("make")
    read(**request)


if __name__ == "__main__":
    main()
