"""Run by our own Python: an atlas built by `build_atlas`, block by block on request, timed exactly as delphi's cache.

python our_atlas.py steps    a request per line (JSON), an answer per line
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from asked import answer, forget_peak, hear, memory_mb, silence, wait_for
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
from micrographia.model.products import linear

silence()


class OnRequest:
    """A `Progress` that lets the builder go on to its next block when that is asked for, and tells what came of it."""

    def __init__(self, meanwhile: dict[str, Callable[[int], object]]) -> None:
        self.meanwhile, self.start, self.begun, self.since_last = meanwhile, time.process_time(), False, 0.0

    def __call__(self, action: str, done: int, total: int) -> None:
        if action == "joining" and not self.since_last:
            self.since_last = time.process_time() - self.start
        if action != "reading":
            return
        seconds = time.process_time() - self.start
        if self.begun:
            answer(cpu=seconds, rss_mb=memory_mb("VmRSS"))
        else:
            forget_peak()
            answer(before_mb=memory_mb("VmRSS"), cpu=seconds)
        self.begun = True
        wait_for("keep" if done < total else "finish", self.meanwhile)
        self.start = time.process_time()


def encode(watch: Watch, act: Tensor) -> None:
    """A basis's activations, dense as it gives them."""
    assert isinstance(watch, EncoderWatch)
    watch.encoder(act[:, 1:].flatten(0, 1))


def multiply(watch: Watch, act: Tensor) -> None:
    """Only an encoder's product, without asking what of it is active."""
    assert isinstance(watch, EncoderWatch)
    linear(act[:, 1:].flatten(0, 1), watch.encoder.weight, watch.encoder.bias)


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

    def without(see: Callable[[Watch, Tensor], object], number: int) -> None:
        look(job, torch.from_numpy(ids[number * c.block : (number + 1) * c.block]), see)

    look(job, torch.from_numpy(ids[:2]), encode)
    asked = OnRequest({"plain": partial(without, encode), "products": partial(without, multiply)})
    text = Corpus.open(corpus)
    manifest = build_atlas(model, chosen, text, Path(out), name="it", config=c, save_seconds=1e9, progress=asked)
    assert manifest is not None
    same = np.array_equal(Text.open(Path(out)).ids, ids)
    answer(
        same_text=same,
        peak_mb=memory_mb(),
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
