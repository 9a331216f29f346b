"""What the likeness of texts around a feature's strongest places is worth, with each embedder.

    python -m benchmarks.windows [--atlas ATLAS] [--each 60] [--part 400] [--out windows.json]

How many features of each kind are beyond random places (p at most .05), window by window, beside two controls. Random
places, which are beyond themselves one time in twenty. And random directions, mixtures of what a layer's features
read, as many as features of a kind: whatever is said of them is said of any direction; `auc` is how often a feature's
score is above one of theirs. Their strongest places must be read anew, in a part of the atlas's text; those of the
features are taken from the same part as well. Beside both embedders, the model's own states with their mean taken
away, which is most of their cosine.
"""

import argparse
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from micrographia.atlas.atlas import Atlas, built_place
from micrographia.atlas.build import watches_of
from micrographia.atlas.watch import EncoderWatch
from micrographia.errors import CallError
from micrographia.ids import Layer, TokenId
from micrographia.labels.beside import labels_beside
from micrographia.labels.halves import Halves
from micrographia.labels.label import Window
from micrographia.labels.windows import WINDOWS, Embedder, embedder_named, strongest_places, window_scores
from micrographia.microscope import Microscope
from micrographia.microscope import open as open_scope
from micrographia.model.site import Site

KINDS = ("input", "output", "cross", "obscure")
DIRECTIONS = "random directions"
LEVEL = 0.05
KEPT = 64
BATCH = 8


@dataclass
class Remembered:
    """An embedder that reads each text once: random places are the same for every feature."""

    embedder: Embedder
    known: dict[tuple[TokenId, ...], np.ndarray] = field(default_factory=dict)

    def __call__(self, texts: Sequence[Sequence[TokenId]], /) -> np.ndarray:
        new = list(dict.fromkeys(tuple(text) for text in texts if tuple(text) not in self.known))
        if new:
            self.known.update(zip(new, self.embedder(new), strict=True))
        return np.stack([self.known[tuple(text)] for text in texts])


@dataclass(frozen=True)
class Centred:
    """An embedder less the mean direction of the texts that are compared, nearly all of which are random places."""

    embedder: Embedder

    def __call__(self, texts: Sequence[Sequence[TokenId]], /) -> np.ndarray:
        rows = self.embedder(texts)
        unit = rows / np.sqrt((rows**2).sum(1, keepdims=True))
        return unit - unit.mean(0)


def of_kinds(atlas: Atlas, each: int) -> dict[str, list[tuple[Layer, int]]]:
    """Some features of each kind, drawn from all that have it."""
    book = labels_beside(atlas)
    assert book is not None, "an atlas with labels"
    chance = np.random.default_rng(0)
    every = {kind: list(book.of_kind(kind)) for kind in KINDS}
    return {kind: [some[i] for i in chance.permutation(len(some))[:each]] for kind, some in every.items()}


def in_part(
    scope: Microscope, atlas: Atlas, features: dict[str, list[tuple[Layer, int]]], each: int, n_windows: int
) -> dict[str, list[np.ndarray]]:
    """The strongest places of features and of random directions in the first windows of the text."""
    watches = watches_of([atlas.layer(layer).plan for layer in atlas.layers], scope.basis, scope.model)  # type: ignore[arg-type]
    generator, per_layer = torch.Generator().manual_seed(0), -(-each // len(watches))
    reads: dict[Site, torch.Tensor] = {}
    names: list[str] = []
    for watch in watches:
        assert isinstance(watch, EncoderWatch), "transcoders"
        rows, asked = (
            watch.encoder.weight.float(),
            [(kind, i) for kind in KINDS for at, i in features[kind] if at == watch.layer],
        )
        mixed = torch.randn(per_layer, len(rows), generator=generator) @ rows
        reads[watch.site] = torch.cat([rows[[i for _, i in asked]], mixed])
        names += [*(kind for kind, _ in asked), *[DIRECTIONS] * per_layer]
    ids, length = atlas.text.ids[:n_windows], atlas.text.length
    best = {
        site: (torch.empty(0, len(rows)), torch.empty(0, len(rows), dtype=torch.int64)) for site, rows in reads.items()
    }
    begun = time.monotonic()
    for first in range(0, len(ids), BATCH):
        some = [scope.model.tokenizer.from_ids([int(i) for i in row]) for row in ids[first : first + BATCH]]
        run = scope.model.run(some, read=list(reads), logits="none")
        at = torch.arange(len(some))[:, None] * length + torch.arange(1, length) + first * length
        for site, rows in reads.items():
            values, places = best[site]
            values = torch.cat([values, run[site][:, 1:].float().flatten(0, 1) @ rows.T])
            places = torch.cat([places, at.flatten()[:, None].expand(-1, len(rows))])
            top = values.topk(min(KEPT, len(values)), dim=0)
            best[site] = top.values, places.gather(0, top.indices)
        if first // BATCH % 25 == 0:
            print(f"{first} of {len(ids)} windows, {time.monotonic() - begun:.0f} s", flush=True)
    columns = [column.numpy() for _, places in best.values() for column in places.T]
    return {name: [c for c, its in zip(columns, names, strict=True) if its == name] for name in dict.fromkeys(names)}


def scored(sets: list[np.ndarray], halves: Halves, embedder: Embedder) -> list[dict[str, Window]]:
    """The windows of each set whose places are in documents enough."""
    found: list[dict[str, Window]] = []
    for places in sets:
        try:
            found.append({each.name: each for each in window_scores(places, halves, embedder)})
        except CallError:
            continue
    return found


def told(found: list[dict[str, Window]], beside: list[dict[str, Window]]) -> dict[str, object]:
    """The share that is beyond random places in each window; and how often its score is above one of `beside`."""
    said: dict[str, object] = {"n": len(found)}
    for name in WINDOWS:
        mine, others = ([each[name] for each in some if name in each] for some in (found, beside))
        said[name] = float(np.mean([each.p <= LEVEL for each in mine]))
        if others:
            above = np.subtract.outer([each.cosine for each in mine], [each.cosine for each in others])
            said[f"{name}, auc"] = float((above > 0).mean() + (above == 0).mean() / 2)
    return said


def _all_told(sets: dict[str, list[np.ndarray]], halves: Halves, embedder: Embedder) -> dict[str, object]:
    found = {kind: scored(some, halves, embedder) for kind, some in sets.items()}
    return {kind: told(each, found.get(DIRECTIONS, [])) for kind, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, default=built_place())
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--part", type=int, default=400, help="windows in which random directions are read; 0: none")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    scope, atlas = open_scope(dtype="bfloat16", device="cpu"), Atlas.open(chosen.atlas)
    halves, chance = Halves(atlas.text, 0), np.random.default_rng(1)
    features = of_kinds(atlas, chosen.each)
    whole = {kind: [strongest_places(atlas.feature(*place)) for place in some] for kind, some in features.items()}
    whole["random places"] = [chance.integers(0, atlas.text.ids.size, 16) for _ in range(chosen.each)]
    sets = {"the atlas's places": whole}
    if chosen.part:
        sets["places in a part of the text"] = in_part(scope, atlas, features, chosen.each, chosen.part)
    own = Remembered(embedder_named("model", scope.model))
    minilm = Remembered(embedder_named("minilm", scope.model))
    embedders = {"model": own, "model, centred": Centred(own), "minilm": minilm}
    found = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "atlas": {"positions": atlas.n_positions, **atlas.manifest.plan.config.model_dump(mode="json")},
        "part": chosen.part * (atlas.text.length - 1),
        "beyond": {
            which: {name: _all_told(some, halves, embedder) for name, embedder in embedders.items()}
            for which, some in sets.items()
        },
    }
    print(json.dumps(found, indent=1))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
