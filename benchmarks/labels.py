"""Whether labels are right where the truth is known, and what they say where it is not.

    python -m benchmarks.labels --corpus CORPUS [--only planted known crowded shipped] [--out FILE] [--figure kinds.svg]

**planted**: neurons that were put into a model of one block, for several seeds: which kind each role is called, how
many of the names are wrong, and how many random directions get one. **known**: in a real model, among its transcoders'
features, ones of which it is known what they are (`benchmarks.known`). **crowded**: how many of random directions have
a name that are put among a layer's features, rare and frequent ones. **shipped**: the labels of the transcoders that
come along, by kind and layer, with their figures in unseen documents beside their nulls, and whether early layers are
about the input, middle ones about both sides, and late ones about the output; intervals are over features drawn anew.
"""

import argparse
import json
import platform
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from benchmarks.known import RANDOM, known, taken_back
from micrographia.atlas.atlas import Atlas, built_place
from micrographia.atlas.build import build_atlas
from micrographia.atlas.plan import AtlasConfig
from micrographia.calibration.planted import EXPECTED, ROLES, WINDOW, Slide
from micrographia.corpus.corpus import Corpus
from micrographia.ids import Layer
from micrographia.labels.beside import labels_place
from micrographia.labels.build import LabelConfig, build_labels
from micrographia.labels.label import KINDS, Held, Label
from micrographia.labels.rules import At, parse_rule
from micrographia.labels.store import LabelBook

SEEDS = 5
EACH = 20
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


def known_anew(corpus: Corpus, tokens: int) -> dict[str, object]:
    """Known features of a real model, over an atlas of their own."""
    with tempfile.TemporaryDirectory() as place:
        return {**known(corpus, tokens, Path(place)), "left of a step": taken_back(corpus)}


def crowded(corpus: Corpus, tokens: int) -> dict[str, object]:
    """Random directions among a real layer's features: what they are called, and the names that some of them have."""
    with tempfile.TemporaryDirectory() as place:
        layers = known(corpus, tokens, Path(place), n_random=4 * RANDOM)
    names = ("random directions", "random directions with a name")
    of_layers = {key: said for key, said in layers.items() if isinstance(said, dict)}
    return {key: {name: said[name] for name in names} for key, said in of_layers.items()}


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
        "positions": _positions(every),
        "output": _moved([label for label in every if label.kind in ("output", "both")]),
        "edits": _edited(every),
        "layers": {str(layer): _shares(labels) for layer, labels in layers.items()},
        "where": {kind: _centre(layers, kind) for kind in ("input", "cross", "output")},
    }


# ---------------------------------------------------------------- parts


def _held(labels: list[Label]) -> dict[str, object]:
    """Means over labels; recall by tenths, weakest first."""
    held = [label.evidence.held for label in labels if label.evidence and label.evidence.held]
    if not held:
        return {"n": 0}
    names = ("auc", "f1", "recall", "precision", "base", "shuffled", "random", "top_token", "low", "high")
    tenths = [[each.deciles[i] for each in held if each.deciles[i] is not None] for i in range(10)]
    recall = [float(np.mean(each)) if each else None for each in tenths]
    against = {"all": "auc", "same token": "hard", "nearest tokens": "alike"}
    return {
        "n": len(held),
        **{name: float(np.mean([getattr(each, name) for each in held])) for name in names},
        "deciles": [None if each is None else round(each, 3) for each in recall],
        "against": {name: _against(held, figure, labels[0].kind != "cross") for name, figure in against.items()},
        "beats_top_token": float(np.mean([each.auc > each.top_token for each in held])),
    }


def _positions(labels: list[Label]) -> dict[str, object]:
    """Labels about where a place stands in its text, its line or its sentence."""
    named = [(label, label.evidence.rule) for label in labels if label.text and label.evidence and label.evidence.rule]
    rules = [(label, rule) for label, said in named if isinstance(rule := parse_rule(said), At)]
    since, mine = Counter(rule.since for _, rule in rules), [label for label, _ in rules]
    return {"since": dict(since), "held_out": _held(mine), "edits": _edited(mine)}


def _against(held: list[Held], figure: str, binary: bool) -> dict[str, object]:
    """How often a place where it is active ranks above one where it is off, of some sort; also by tenths, where a rule
    holds or does not, so that the area is the mean of recall and of how often it does not hold where it should not."""
    some = [each for each in held if getattr(each, figure) is not None]
    if not some:
        return {"n": 0}
    tenths: list[float | None] = []
    for i in range(10):
        here = [(recall, each) for each in some if binary and (recall := each.deciles[i]) is not None]
        areas = [getattr(each, figure) + (recall - each.recall) / 2 for recall, each in here]
        tenths.append(round(float(np.mean(areas)), 3) if areas else None)
    return {"n": len(some), "auc": float(np.mean([getattr(each, figure) for each in some])), "deciles": tenths}


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
    parser.add_argument("--only", nargs="*", default=["planted", "known", "crowded", "shipped"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figure", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    parts = {
        "planted": planted,
        "known": lambda: known_anew(Corpus.open(chosen.corpus), chosen.tokens),
        "crowded": lambda: crowded(Corpus.open(chosen.corpus), chosen.tokens),
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
