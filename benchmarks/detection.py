"""Do names hold in documents that nothing was made from, and how do they do in the tests that delphi puts to them?

    python -m benchmarks.detection --corpus CORPUS [--atlas ATLAS] [--windows 960] [--out detection.json]

Transcoders, atlas, rules and their marks are of the train split. Here every named rule about the text is tried on the
held-out split; places whose last tokens stand in the atlas's text, or earlier in this one, do not count.

**again**: the marks that labels come with, measured anew by the same code. **detection**: contexts of 32 tokens, 5 from
each tenth of those in which the feature is active, by their largest activation, and 50 in which it is not; a name says
that it is active if its rule holds anywhere. **fuzzing**: tokens are marked in the same contexts, those where it is
active at more than .3 of the context's largest activation, or as many at random; a name says yes if its rule holds at
half of what is marked. Balanced accuracy, one half is chance. Both are delphi 0.1.3's questions with its numbers of
examples; there a language model answers them, here the rule does. Beside them, the same of another name of the layer
(shuffled), and of the commonest token of the five strongest places in the atlas (top token).
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from micrographia.atlas.atlas import Atlas, built_place
from micrographia.atlas.build import watches_of
from micrographia.atlas.harvest import Job, look
from micrographia.atlas.plan import AtlasConfig
from micrographia.atlas.strength import strengths
from micrographia.atlas.text import Text, contexts
from micrographia.atlas.watch import Span, Watch
from micrographia.corpus.corpus import Corpus
from micrographia.ids import Layer
from micrographia.labels.beside import labels_beside
from micrographia.labels.crowd import Crowd
from micrographia.labels.exam import Exam, Marks, least_of
from micrographia.labels.halves import Halves, Reading
from micrographia.labels.label import Held, Kind
from micrographia.labels.rules import Condition, Rule, Where, parse_rule
from micrographia.labels.store import LabelBook
from micrographia.labels.vocabulary import Vocabulary
from micrographia.microscope import open as open_scope

KINDS = ("input", "both", "cross")
CONTEXT = 32
TENTHS, PER_TENTH, OFF = 10, 5, 50
MARKED = 0.3
FEWEST_CONTEXTS = 50


@dataclass(frozen=True)
class Name:
    """What a name says of a feature, and how that did where names were tried."""

    kind: Kind
    rule: Rule
    strong: bool
    before: Held


@dataclass(frozen=True)
class Fires:
    """Where the named features of a layer are active: by feature, then by row."""

    feature: np.ndarray
    row: np.ndarray
    strength: np.ndarray

    def crowd(self, n_features: int) -> Crowd:
        start = np.searchsorted(self.feature, np.arange(n_features + 1))
        none, density = np.zeros((n_features, 0), np.int64), np.diff(start).astype(np.float64)
        return Crowd(
            n_features,
            0,
            start,
            self.row,
            self.strength,
            density,
            none,
            none,
            none,
            torch.zeros(n_features, 0),
            np.ones_like(self.strength),
        )


def fires(job: Job, ids: np.ndarray, named: dict[Layer, np.ndarray]) -> dict[Layer, Fires]:
    """Read windows, and take down where features with a name are active."""
    parts: dict[Layer, list[tuple[np.ndarray, ...]]] = {layer: [] for layer in named}

    def see(first: int, watch: Watch, act: torch.Tensor) -> None:
        active = watch(act, Span(0, 0))
        some = named[watch.layer][active.feature]
        row = active.row[some] + first * (act.shape[1] - 1)
        parts[watch.layer].append((active.feature[some].astype(np.int16), row.astype(np.int32), active.code[some]))

    for first in range(0, len(ids), job.block):
        look(job, torch.from_numpy(ids[first : first + job.block]), partial(see, first))
        if first % (10 * job.block) == 0:
            print(f"{first} of {len(ids)} windows", flush=True)
    found: dict[Layer, Fires] = {}
    for watch in job.watches:
        feature, row, code = (np.concatenate(column) for column in zip(*parts.pop(watch.layer), strict=True))
        order = np.argsort(feature, kind="stable")
        strength = strengths(code[order], watch.exponent)
        found[watch.layer] = Fires(feature[order].astype(np.int64), row[order].astype(np.int64), strength)
    return found


def reading_of(text: Text, known: Text, seed: int) -> Reading:
    """All windows of a text; what stands in another one, or earlier in itself, does not count."""
    hashes = contexts(text.ids, seed)
    fresh = np.zeros(len(hashes), dtype=bool)
    fresh[np.unique(hashes, return_index=True)[1]] = True
    fresh &= ~np.isin(hashes, contexts(known.ids, seed))
    shape, none = (len(text.ids), text.length - 1), np.zeros((len(text.ids), text.length - 1), dtype=bool)
    places = np.arange(text.ids.size).reshape(text.ids.shape)[:, 1:]
    ids = text.ids.astype(np.int64)
    return Reading(np.arange(len(ids)), ids, Halves(text, seed).documents(places), none, fresh.reshape(shape))


class Asked:
    """The contexts of a feature, and what is marked in them."""

    def __init__(self, rows: np.ndarray, strength: np.ndarray, context: np.ndarray, chance: np.random.Generator):
        """`context` is that of each row that counts, in order; `rows` are those where the feature is active."""
        self.context, n = context, int(context[-1]) + 1
        here = context[rows]
        largest = np.zeros(n)
        np.maximum.at(largest, here, strength)
        by_strength = np.flatnonzero(largest)[np.argsort(largest[largest > 0], kind="stable")]
        drawn = [chance.permutation(part)[:PER_TENTH] for part in np.array_split(by_strength, TENTHS)]
        self.on = np.concatenate(drawn)
        self.off = chance.permutation(np.flatnonzero((largest == 0) & (np.bincount(context, minlength=n) > 0)))[:OFF]
        marked = rows[strength > MARKED * largest[here]]
        self.marks = _by_context(marked, context, self.on)
        n_marks = max(1, -(-sum(map(len, self.marks)) // len(self.marks)))
        inside = (np.flatnonzero(context == each) for each in self.off)
        self.wrong = [chance.permutation(some)[:n_marks] for some in inside]
        self.n = len(by_strength)

    def detection(self, holds: np.ndarray) -> float:
        anywhere = np.bincount(self.context[holds], minlength=int(self.context[-1]) + 1) > 0
        return float((anywhere[self.on].mean() + 1 - anywhere[self.off].mean()) / 2)

    def fuzzing(self, holds: np.ndarray) -> float:
        right, wrong = (np.mean([holds[some].mean() >= 0.5 for some in each]) for each in (self.marks, self.wrong))
        return float((right + 1 - wrong) / 2)


def _by_context(rows: np.ndarray, context: np.ndarray, chosen: np.ndarray) -> list[np.ndarray]:
    here = context[rows]
    return [rows[here == each] for each in chosen]


def asked(
    layer: Layer, fire: Fires, names: dict[int, Name], reading: Reading, vocabulary: Vocabulary, atlas: Atlas
) -> Iterator[dict[str, object]]:
    """Every name of a layer, tried."""
    exam = Exam(fire.crowd(atlas.n_features(layer)), reading, vocabulary, 0)
    chance = np.random.default_rng([0, layer])
    per_window = reading.per_window
    window, position = np.divmod(exam.rows, per_window)
    n_contexts = -(-(per_window + 1) // CONTEXT)
    context = window * n_contexts + (position + 1) // CONTEXT
    holds: dict[int, np.ndarray] = {}
    marks: dict[int, Marks | None] = {}
    for i, name in names.items():
        score = exam.score(name.rule)
        marks[i] = exam.marks(i, score, least_of(name.rule), name.strong, np.zeros(0, np.int64))
        holds[i] = np.packbits(score >= least_of(name.rule))
    others = dict(zip(holds, np.roll(list(holds), 1), strict=True))
    for i, mark in marks.items():
        if mark is None:
            continue
        rows, strength = exam.active(i)
        order = np.argsort(rows)
        its, n = Asked(rows[order], strength[order], context, chance), len(exam.rows)
        if its.n < FEWEST_CONTEXTS:
            continue
        strongest = [each.tokens[each.at] for each in atlas.feature(layer, i).strongest[:5]]
        found, count = np.unique(strongest, return_counts=True)
        top = exam.score(Where((Condition(0, (int(found[count.argmax()]),)),))) > 0
        sides = {"rule": holds[i], "shuffled": holds[int(others[i])], "top_token": np.packbits(top)}
        line: dict[str, object] = {"kind": names[i].kind, "layer": int(layer), "strong": names[i].strong}
        for figure in ("recall", "precision", "f1", "auc"):
            line |= {figure: getattr(mark, figure), f"{figure}_before": getattr(names[i].before, figure)}
        for side, packed in sides.items():
            at = np.unpackbits(packed, count=n).astype(bool)
            line |= {f"detection_{side}": its.detection(at), f"fuzzing_{side}": its.fuzzing(at)}
        yield line


def names_of(book: LabelBook, layer: Layer) -> Iterator[tuple[int, Name]]:
    for i, label in book.labels(layer).items():
        said = label.evidence
        if label.kind in KINDS and label.text and label.by == "rule" and said and said.rule and said.held:
            yield i, Name(label.kind, parse_rule(said.rule), said.strong, said.held)


def summary(lines: list[dict[str, object]]) -> dict[str, object]:
    """Means over features, and the middle eight tenths of what is asked of rules."""
    found: dict[str, object] = {"n": len(lines)}
    for name in lines[0]:
        if name in ("kind", "layer", "strong"):
            continue
        values = np.array([line[name] for line in lines], dtype=np.float64)
        found[name] = float(values.mean())
        if name in ("detection_rule", "fuzzing_rule"):
            found[f"{name}_middle"] = [float(each) for each in np.quantile(values, [0.1, 0.9])]
    found["again_above_half"] = float(np.mean([float(line["auc"]) > 0.5 for line in lines]))  # type: ignore[arg-type]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--atlas", type=Path)
    parser.add_argument("--windows", type=int, default=960)
    parser.add_argument("--layers", type=int, nargs="*")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    atlas = Atlas.open(chosen.atlas or built_place())
    book = labels_beside(atlas)
    assert book is not None, "an atlas with labels"
    scope = open_scope(dtype="bfloat16", device="cpu", basis="transcoders")
    atlas.check(scope.model, scope.basis)
    names = {layer: dict(names_of(book, layer)) for layer in chosen.layers or atlas.layers}
    text = Text.of(Corpus.open(chosen.corpus), "heldout", length=atlas.text.length, n_windows=chosen.windows, seed=0)
    plans = [atlas.layer(layer).plan for layer in names]
    watches = watches_of(plans, scope.basis, scope.model)  # type: ignore[arg-type]
    c = AtlasConfig()
    job = Job(scope.model.weights, scope.model.anatomy, watches, Path(), c.block, c.span, c.shape, c.seed, 1e9)
    flags = {layer: np.isin(np.arange(atlas.n_features(layer)), list(of)) for layer, of in names.items()}
    read = fires(job, text.ids.astype(np.int64), flags)
    reading, vocabulary = reading_of(text, atlas.text, 0), Vocabulary.of(scope.model, atlas.text, 0)
    lines: list[dict[str, object]] = []
    for layer, of in names.items():
        lines += asked(layer, read.pop(layer), of, reading, vocabulary, atlas)
        print(layer, len(of), len(lines), flush=True)
    found: dict[str, object] = {
        "windows": chosen.windows,
        "places": int(reading.held.sum()),
        "names": {kind: sum(name.kind == kind for of in names.values() for name in of.values()) for kind in KINDS},
        "by_kind": {kind: summary(some) for kind in KINDS if (some := [x for x in lines if x["kind"] == kind])},
        "by_layer": {
            int(layer): summary(some)
            for layer in names
            if (some := [x for x in lines if x["layer"] == layer and x["kind"] == "input"])
        },
    }
    print(json.dumps(found["by_kind"], indent=1))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
