"""Whether labels are right where the truth is known, and what they say where it is not.

    python -m benchmarks.labels --corpus CORPUS [--only planted known shipped] [--out labels.json] [--figure kinds.svg]

**planted**: neurons that were put into a model of one block, for several seeds: which kind each role is called, how
many of the names are wrong, and how many random directions get one. **known**: in a real model, features that read a
token's embedding at the first layer (true inputs), that read and write a token's row of the unembedding near the end
(true outputs), and that read and write at random (true obscure). **shipped**: the labels of the transcoders that come
along, by kind and layer, with their figures in unseen documents beside their nulls, and whether early layers are about
the input, middle ones about both sides, and late ones about the output; intervals are over features drawn anew.
"""

import argparse
import json
import platform
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from micrographia.atlas.atlas import Atlas, built_place
from micrographia.atlas.build import build_atlas
from micrographia.atlas.plan import AtlasConfig
from micrographia.bases.activation import JumpRelu
from micrographia.bases.transcoder import Encoder, PerLayer, TranscoderLayer
from micrographia.calibration.planted import EXPECTED, ROLES, WINDOW, Slide
from micrographia.corpus.corpus import Corpus
from micrographia.ids import Layer
from micrographia.labels.beside import labels_place
from micrographia.labels.build import LabelConfig, build_labels
from micrographia.labels.label import KINDS, Label
from micrographia.labels.store import LabelBook
from micrographia.model.load import load_model
from micrographia.model.model import Model
from micrographia.model.site import Point, Site

SEEDS = 5
EACH = 20
KNOWN = 40
DENSITY = 0.003
PLANTED = LabelConfig(fit=12_000, held=24_000, windows=300)
REDRAWN = 1000


def planted() -> dict[str, object]:
    """The confusion matrix over several slides, and the share of names that are wrong."""
    confusion: Counter[tuple[str, str]] = Counter()
    wrong = named = tried = passed = 0
    for seed in range(SEEDS):
        slide = Slide.of(dict.fromkeys(ROLES, EACH), seed)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            corpus = slide.corpus(folder, 1000, seed)
            n = len(corpus.windows("train", WINDOW, seed=0)) * (WINDOW - 1)
            build_atlas(
                slide.model,
                slide.basis,
                corpus,
                folder / "atlas",
                config=AtlasConfig(tokens=n, window=WINDOW, block=64),
            )
            with LabelBook.create(folder / "atlas.labels") as book:
                build_labels(slide.model, slide.basis, Atlas.open(folder / "atlas"), book, config=PLANTED)
                labels, (control,) = book.labels(0), book.controls().values()
        tried, passed = tried + control.tried, passed + control.input + control.output + control.cross
        for index, each in enumerate(slide.features):
            label = labels[index]
            confusion[each.role, str(label.kind)] += 1
            named += label.text is not None
            wrong += label.text is not None and label.kind != EXPECTED[each.role]
        print(seed, dict(confusion), flush=True)
    right = sum(n for (role, kind), n in confusion.items() if EXPECTED[role] == kind)  # type: ignore[index]
    obscure = [role for role in ROLES if EXPECTED[role] == "obscure"]
    return {
        "slides": SEEDS,
        "features": sum(confusion.values()),
        "confusion": {role: {kind: confusion[role, kind] for kind in KINDS if confusion[role, kind]} for role in ROLES},
        "right": right / sum(confusion.values()),
        "obscure_right": sum(confusion[role, "obscure"] for role in obscure) / (EACH * SEEDS * len(obscure)),
        "false_discoveries": wrong / max(named, 1),
        "random_directions": {"tried": tried, "named": passed},
    }


def known(corpus: Corpus, tokens: int) -> dict[str, object]:
    """Embedding rows, unembedding rows and random directions of a real model."""
    model = load_model(dtype="bfloat16", device="cpu")
    late = Layer(model.anatomy.n_layers - 2)
    chosen = _common_words(model, corpus)
    with tempfile.TemporaryDirectory() as place:
        basis = _known_basis(model, corpus, chosen, late)
        build_atlas(model, basis, corpus, Path(place) / "atlas", config=AtlasConfig(tokens=tokens))
        with LabelBook.create(Path(place) / "atlas.labels") as book:
            build_labels(model, basis, Atlas.open(Path(place) / "atlas"), book)
            early, end = book.labels(0), book.labels(late)

    def kinds(labels: list[Label]) -> dict[str, int]:
        return dict(Counter(str(label.kind) for label in labels))

    return {
        "tokens": [model.tokenizer.piece(token) for token in chosen],
        "embedding rows, layer 0": kinds([early[i] for i in range(KNOWN)]),
        "random, layer 0": kinds([early[i] for i in range(KNOWN, 2 * KNOWN)]),
        f"unembedding rows, layer {late}": kinds([end[i] for i in range(KNOWN)]),
        f"random, layer {late}": kinds([end[i] for i in range(KNOWN, 2 * KNOWN)]),
        "names": {
            "embedding": [early[i].text for i in range(KNOWN)],
            "unembedding": [end[i].text for i in range(KNOWN)],
        },
    }


def shipped(place: Path) -> dict[str, object]:
    """What the labels of the transcoders that come along say, layer by layer."""
    with LabelBook.open(labels_place(place)) as book:
        layers = {layer: list(book.labels(layer).values()) for layer in book.layers}
        controls = book.controls()
    every = [label for labels in layers.values() for label in labels]
    return {
        "features": len(every),
        "kinds": {kind: sum(label.kind == kind for label in every) for kind in KINDS},
        "named": sum(label.text is not None for label in every),
        "withdrawn": sum(bool(label.evidence and label.evidence.withdrawn) for label in every),
        "random_directions": {
            "tried": sum(each.tried for each in controls.values()),
            "input": sum(each.input for each in controls.values()),
            "output": sum(each.output for each in controls.values()),
            "cross": sum(each.cross for each in controls.values()),
        },
        "held_out": {kind: _held([one for one in every if one.kind == kind]) for kind in ("input", "both", "cross")},
        "output": _moved([label for label in every if label.kind in ("output", "both")]),
        "edits": _edited(every),
        "layers": {str(layer): _shares(labels) for layer, labels in layers.items()},
        "where": {kind: _centre(layers, kind) for kind in ("input", "cross", "output")},
    }


# ---------------------------------------------------------------- parts


def _common_words(model: Model, corpus: Corpus) -> list[int]:
    """Whole words that stand at about one place in two thousand."""
    windows = corpus.windows("train", 256, seed=0)
    ids = np.concatenate([windows[i].ids for i in range(min(2000, len(windows)))]).astype(np.int64)
    share = np.bincount(ids, minlength=model.anatomy.d_vocab) / len(ids)
    good = [
        int(token)
        for token in np.argsort(np.abs(np.log(np.maximum(share, 1e-9) / 5e-4)))
        if model.tokenizer.raw(int(token))[:1] == b" " and model.tokenizer.raw(int(token))[1:].isalpha()
    ]
    return good[:KNOWN]


def _known_basis(model: Model, corpus: Corpus, chosen: list[int], late: Layer) -> PerLayer:
    """Half of each layer's features are known, the other half random; thresholds by the densities that are wanted."""
    windows = corpus.windows("train", 256, seed=1)
    prompts = [model.tokenizer.from_ids([int(i) for i in windows[number].ids]) for number in range(32)]
    sites = {layer: Site(Point.MLP_IN, layer) for layer in (Layer(0), late)}
    run = model.run(prompts, read=list(sites.values()), logits="none")
    generator = torch.Generator().manual_seed(0)
    d, weights = model.anatomy.d_model, model.weights
    found: dict[Layer, TranscoderLayer] = {}
    for layer, site in sites.items():
        x = run[site][:, 1:].flatten(0, 1).float()
        table, norm = (weights.embed if layer == 0 else weights.unembed.weight).float(), weights.blocks[layer].mlp_norm
        rows = table[chosen] - table.mean(0)
        if norm is not None:
            rows = rows * norm.gain.float()
        # What lies in the stream besides must not count: a row is read through the inverse of the covariance.
        spread = torch.cov(x.T)
        spread = spread + 0.05 * spread.diagonal().mean() * torch.eye(d)
        drawn = torch.randn(KNOWN, d, generator=generator)
        reads = torch.cat([torch.linalg.solve(spread, rows.T).T, torch.linalg.solve(spread, drawn.T).T])
        values = x @ reads.T
        share = torch.full((2 * KNOWN,), DENSITY)
        share[:KNOWN] = 5e-4 if layer == 0 else 1e-3
        least = torch.stack([values[:, i].quantile(1 - float(share[i])) for i in range(2 * KNOWN)]).clamp(min=1e-3)
        says = weights.unembed.weight[chosen].float() - weights.unembed.weight.float().mean(0)
        writes = torch.randn(2 * KNOWN, d, generator=generator)
        if layer == late:
            writes[:KNOWN] = says
        writes *= 2 / writes.square().sum(1, keepdim=True).sqrt() / values.std(0)[:, None].clamp(min=1e-3)
        dtype = model.dtype
        encoder = Encoder(reads.to(dtype), torch.zeros(2 * KNOWN, dtype=dtype), JumpRelu(least.to(dtype)))
        found[layer] = TranscoderLayer(encoder, writes.to(dtype), torch.zeros(d, dtype=dtype))
    return PerLayer(found)


def _held(labels: list[Label]) -> dict[str, object]:
    """Means over labels; recall by tenths, weakest first."""
    held = [label.evidence.held for label in labels if label.evidence and label.evidence.held]
    if not held:
        return {"n": 0}
    names = ("auc", "f1", "recall", "precision", "base", "shuffled", "random", "top_token", "low", "high")
    hard = [each.hard for each in held if each.hard is not None]
    tenths = [[each.deciles[i] for each in held if each.deciles[i] is not None] for i in range(10)]
    return {
        "n": len(held),
        **{name: float(np.mean([getattr(each, name) for each in held])) for name in names},
        "hard": float(np.mean(hard)) if hard else None,
        "deciles": [round(float(np.mean(each)), 3) if each else None for each in tenths],
        "beats_top_token": float(np.mean([each.auc > each.top_token for each in held])),
    }


def _moved(labels: list[Label]) -> dict[str, object]:
    effects = [label.evidence.effect for label in labels if label.evidence and label.evidence.effect]
    said = [label.evidence.said for label in labels if label.evidence and label.evidence.said]
    if not effects:
        return {"n": 0}
    return {
        "n": len(effects),
        **{
            name: float(np.mean([getattr(each, name) for each in effects]))
            for name in ("ablated", "boosted", "random", "auc")
        },
        **{
            name: float(np.mean([getattr(each, name) for each in said]))
            for name in ("concentration", "next", "next_elsewhere", "argmax", "argmax_elsewhere")
        },
    }


def _edited(labels: list[Label]) -> dict[str, object]:
    edits = [label.evidence.edits for label in labels if label.evidence and label.evidence.edits]
    if not edits:
        return {"n": 0}
    figures = {name: float(np.mean([getattr(each, name) for each in edits])) for name in ("named", "other")}
    return {"n": len(edits), **figures, "failed": sum(not (e.named < 0.5 and e.named < e.other) for e in edits)}


def _shares(labels: list[Label]) -> dict[str, object]:
    """The share of each kind in a layer, with the middle 95 % over features drawn anew."""
    chance = np.random.default_rng(0)
    kinds = np.array([KINDS.index(label.kind) for label in labels if label.kind is not None])
    drawn = kinds[chance.integers(0, len(kinds), (REDRAWN, len(kinds)))]
    found: dict[str, object] = {}
    for number, kind in enumerate(KINDS):
        low, high = np.quantile((drawn == number).mean(1), [0.025, 0.975])
        found[kind] = [round(float(value), 4) for value in ((kinds == number).mean(), low, high)]
    held = [label.evidence.held for label in labels if label.evidence and label.evidence.held]
    found["F1 above 0.4"] = round(sum(each.f1 >= 0.4 for each in held) / len(labels), 4)
    found["bar"] = round(float(np.median([each.bar for each in held])), 3)
    return found


def _centre(layers: dict[Layer, list[Label]], kind: str) -> dict[str, float]:
    """The mean layer of the features of a kind (both counts on either side), beside that of kinds dealt out anew."""
    at = np.array([layer for layer, labels in layers.items() for _ in labels])
    wanted = {kind, "both"} if kind != "cross" else {kind}
    mine = np.array([label.kind in wanted for labels in layers.values() for label in labels])
    chance = np.random.default_rng(0)
    draws = [float(at[chance.choice(np.flatnonzero(mine), int(mine.sum()))].mean()) for _ in range(REDRAWN)]
    dealt = [float(at[chance.permutation(mine)].mean()) for _ in range(REDRAWN)]
    low, high = np.quantile(draws, [0.025, 0.975])
    least, most = np.quantile(dealt, [0.025, 0.975])
    return {
        "n": int(mine.sum()),
        "mean_layer": float(at[mine].mean()),
        "low": float(low),
        "high": float(high),
        "dealt_anew_low": float(least),
        "dealt_anew_high": float(most),
    }


def figure(layers: dict[str, dict[str, list[float]]], path: Path) -> None:
    """The share of the kinds by layer, with intervals."""
    import matplotlib.pyplot as plt

    colours = {"input": "#0072b2", "cross": "#e69f00", "output": "#d55e00", "both": "#009e73"}
    fig, axes = plt.subplots(figsize=(7.2, 3.4))
    at = np.array([int(layer) for layer in layers])
    for kind, colour in colours.items():
        share, low, high = np.array([each[kind][:3] for each in layers.values()]).T * 100
        axes.plot(at, share, color=colour, label=kind, marker="o", markersize=3, linewidth=1.2)
        axes.fill_between(at, low, high, color=colour, alpha=0.25, linewidth=0)
    alone = [each["F1 above 0.4"] * 100 for each in layers.values()]  # type: ignore[operator]
    axes.plot(at, alone, color="#777777", linestyle=":", linewidth=1.2, label="a rule with F1 above 0.4")
    axes.set(xlabel="layer", ylabel="% of features", ylim=(0, None), xlim=(-0.5, at.max() + 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.14), columnspacing=1.0)
    fig.tight_layout()
    plt.rcParams["svg.hashsalt"] = "labels"
    fig.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--atlas", type=Path, default=built_place())
    parser.add_argument("--tokens", type=int, default=150_000)
    parser.add_argument("--only", nargs="*", default=["planted", "known", "shipped"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figure", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    parts = {
        "planted": planted,
        "known": lambda: known(Corpus.open(chosen.corpus), chosen.tokens),
        "shipped": lambda: shipped(chosen.atlas),
    }
    found: dict[str, object] = {}
    if chosen.out is not None and chosen.out.exists():
        found = json.loads(chosen.out.read_text())
    found |= {"machine": platform.processor() or platform.machine(), "torch": torch.__version__}
    for name in chosen.only:
        found[name] = parts[name]()
        print(json.dumps(found[name], indent=1), flush=True)
        if chosen.out is not None:
            chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    if chosen.figure is not None:
        figure(found["shipped"]["layers"], chosen.figure)  # type: ignore[index]


if __name__ == "__main__":
    main()
