"""What attribution costs, beside circuit-tracer 0.5.0: the same model, transcoders, prompts and features.

    python -m benchmarks.attribution [--quick] [--basis FOLDER] [--only settings cells exact memory curves] [--out FILE]

Each point is written to FILE as soon as it is measured, and what lies there already is not measured again: who is
interrupted goes on with the same command.

**settings** looks for circuit-tracer's best back end, allocator and batch size; without it those known to be good are
taken. **cells** traces prompts of several lengths with several numbers of features, both sides in turn, one thread
each, and compares what comes out: with its own ranking here, the same features and the same edges. Where tokens times
features are more than `--most`, circuit-tracer takes minutes for a trace and is not asked. **exact** compares both
with the same rows from a model in float64: whose edges are nearer. **memory** starts a
process for each figure. **curves** is ours alone, over more lengths and numbers, beside the arithmetic that its rows
need at least.

Seconds are CPU seconds of the process, medians over rounds, and wall time stands beside them. `attribute` and `trace`
are timed whole, from token ids to the finished matrix. Memory is the most that was resident during a trace, and beside
it what came on top of the loaded model and transcoders.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

import micrographia as mg
from benchmarks.attribution_agreement import agreement, our_result, their_result
from benchmarks.attribution_inputs import PLACE, peer_basis, peer_model, prompt_of
from benchmarks.machine import processor
from benchmarks.peers.running import Peer

SECTIONS = ("settings", "cells", "exact", "memory", "curves")
INTERVAL = 4
"""circuit-tracer's own: it ranks anew after so many batches."""
THEIRS = "circuit-tracer"
OURS = {
    "ours, its ranking": {"rule": "ranking", "dtype": "float32"},
    "ours, highest influence first": {"rule": "reaching", "dtype": "float32"},
    "ours, bfloat16": {"rule": "reaching", "dtype": "bfloat16"},
    "ours, every row": {"rule": "everything", "dtype": "float32"},
    "ours, float64": {"rule": "ranking", "dtype": "float64"},
}
SOME, EVERY, EXACT = tuple(OURS)[:3], tuple(OURS)[3:4], tuple(OURS)[4]
SHORT = 64
"""Tokens up to which circuit-tracer's batch sizes are tried on as many features as asked; on a quarter above."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How circuit-tracer is run."""

    backend: str = "nnsight"
    keeping: bool = True
    """Whether the C allocator keeps freed memory; ours is then run with the same one."""
    batch: int = 16


@dataclass(frozen=True, slots=True)
class Figure:
    """One side of one cell; seconds are medians over rounds."""

    tokens: int
    wanted: int | None
    """How many features get rows; None is all."""
    what: str
    cpu: float
    low: float
    high: float
    wall: float
    pruning: float
    active: int
    features: int
    flops: float | None


@dataclass(frozen=True, slots=True)
class Memory:
    """What one trace in a process of its own held, in megabytes."""

    tokens: int
    wanted: int
    what: str
    peak: float
    on_top: float


class Points:
    """What has been measured, by name; each point is on the disk before the next one is begun."""

    def __init__(self, file: Path | None, facts: dict[str, object]) -> None:
        self.file = file
        self.all: dict[str, object] = {"facts": facts}
        if file is not None and file.exists():
            there = json.loads(file.read_text())
            if there.get("facts") != facts:
                raise SystemExit(
                    f"{file} was measured with {there.get('facts')}, not with {facts}. Choose another file."
                )
            self.all = there

    def get(self, name: str, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The point of this name, measured if it is not there."""
        if name not in self.all:
            self.all[name] = measured()
            if self.file is not None:
                partial = self.file.with_suffix(".partial")
                partial.write_text(json.dumps(self.all, indent=1))
                partial.replace(self.file)
        return cast("dict[str, Any]", self.all[name])


class Bench:
    """The prompts, the files, and the processes, which are started when they are first asked."""

    def __init__(self, basis: Path | None) -> None:
        self.basis, self.folder = str(peer_basis(basis)), str(peer_model())
        self.model = mg.open(dtype="float32", device="cpu").model
        self._peers: dict[tuple[str, bool], Peer] = {}

    def ask(self, what: str, setting: Setting, tokens: int, wanted: int | None, **more: object) -> dict[str, float]:
        request = {
            "ids": list(prompt_of(self.model, tokens).ids),
            "max_nodes": wanted,
            "batch_size": setting.batch,
            "update_interval": INTERVAL,
        }
        return self._peer(what, setting).ask(**request, **OURS.get(what, {}), **more)

    def _peer(self, what: str, setting: Setting) -> Peer:
        theirs = what == THEIRS
        key = setting.backend if theirs else EXACT if what == EXACT else "ours", setting.keeping
        if key not in self._peers:
            load = {"model": self.folder, "basis": self.basis, "backend": setting.backend}
            load |= {"dtype": "float64"} if what == EXACT else {}
            self._peers[key] = Peer(THEIRS if theirs else "our attribution", keeping=setting.keeping, **load)
            # What is done once, such as compiling and caching, belongs to nobody's figure.
            self.ask(what, setting, 8, 64)
        return self._peers[key]

    def gflops(self) -> float:
        """This core's speed at a large matrix product in float32."""
        return self._peer("ours, highest influence first", Setting()).ask(product=2048)["gflops"]

    def close(self) -> None:
        for peer in self._peers.values():
            peer.close()
        self._peers.clear()


# ------------------------------------------------------------ circuit-tracer's best settings


def best_settings(bench: Bench, points: Points, chosen: argparse.Namespace) -> dict[int, Setting]:
    """For each length; back ends and allocators are tried on the shortest prompt, batch sizes on all."""

    def best(settings: Sequence[Setting], tokens: int) -> Setting:
        features = chosen.probe if tokens <= SHORT else chosen.probe // 4
        seconds: dict[Setting, float] = {}
        for setting in settings:
            name = f"setting: {tokens} tokens, {features} features, {setting}"
            point = points.get(
                name, lambda setting=setting: {"cpu": bench.ask(THEIRS, setting, tokens, features)["cpu"]}
            )
            seconds[setting] = point["cpu"]
            print(f"  {name}: {seconds[setting]:.1f} s", flush=True)
        return min(seconds, key=lambda setting: seconds[setting])

    ways = [Setting(backend, keeping) for backend in ("nnsight", "transformerlens") for keeping in (True, False)]
    way = best(ways, min(chosen.tokens))
    bench.close()
    batches = [replace(way, batch=batch) for batch in chosen.batches]
    return {tokens: best(batches, tokens) for tokens in chosen.tokens}


# ------------------------------------------------------------ cells


def cell(
    bench: Bench, setting: Setting, tokens: int, wanted: int | None, chosen: argparse.Namespace
) -> dict[str, object]:
    """Both sides in turn, until there are rounds enough or a side has taken too long to be asked again."""
    asked = wanted is None or tokens * wanted <= chosen.most
    kinds = (*((THEIRS,) if asked else ()), *(EVERY if wanted is None else SOME))
    answers: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    files = {kind: PLACE / f"{number}.safetensors" for number, kind in enumerate(kinds)}
    for number in range(chosen.rounds):
        for kind in kinds:
            if sum(answer["cpu"] for answer in answers[kind]) > chosen.patience:
                continue
            save = {} if number else {"save": str(files[kind])}
            answers[kind].append(bench.ask(kind, setting, tokens, wanted, prunings=3, **save))
    same = []
    if asked:
        ours = kinds[1]
        same.append((f"{ours} and {THEIRS}", agreement(their_result(files[THEIRS]), our_result(files[ours]))))
    if wanted is not None:
        same.append(("bfloat16 and float32", agreement(our_result(files[kinds[-2]]), our_result(files[kinds[-1]]))))
    for file in files.values():
        file.unlink()
    return {
        "setting": asdict(setting),
        "figures": [asdict(figure(kind, tokens, wanted, found)) for kind, found in answers.items()],
        "agreement": [{"tokens": tokens, "wanted": wanted, "what": what, **asdict(one)} for what, one in same],
    }


def figure(what: str, tokens: int, wanted: int | None, answers: Sequence[dict[str, float]]) -> Figure:
    cpu = [answer["cpu"] for answer in answers]
    return Figure(
        tokens=tokens,
        wanted=wanted,
        what=what,
        cpu=statistics.median(cpu),
        low=min(cpu),
        high=max(cpu),
        wall=statistics.median(answer["wall"] for answer in answers),
        pruning=statistics.median(answer["prune_cpu"] for answer in answers),
        active=int(answers[0]["active"]),
        features=int(answers[0]["nodes"]),
        flops=answers[0].get("flops"),
    )


HEAD = (
    "| tokens | active | features | what | CPU s | range | wall s | × less CPU | pruning, ms | × less |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def row(each: Figure, baseline: Figure | None) -> str:
    less, pruned = ("–", "–")
    if baseline is not None:
        less, pruned = f"{baseline.cpu / each.cpu:.1f}", f"{baseline.pruning / each.pruning:.1f}"
    return (
        f"| {each.tokens} | {each.active} | {each.features} | {each.what} | {each.cpu:.2f} | {each.low:.2f}–"
        f"{each.high:.2f} | {each.wall:.2f} | {less} | {1000 * each.pruning:.1f} | {pruned} |"
    )


def cells(bench: Bench, points: Points, settings: dict[int, Setting], chosen: argparse.Namespace) -> None:
    print("\n" + "\n".join(HEAD))
    same: list[dict[str, Any]] = []
    sizes = [(tokens, wanted) for tokens in chosen.tokens for wanted in chosen.features]
    for tokens, wanted in [*sizes, *([] if chosen.quick else [(min(chosen.tokens), None)])]:
        name = f"cell: {tokens} tokens, {'all' if wanted is None else wanted} features"
        found = points.get(name, lambda t=tokens, n=wanted: cell(bench, settings[t], t, n, chosen))
        figures = [Figure(**each) for each in found["figures"]]
        for each in figures:
            print(row(each, figures[0] if figures[0].what == THEIRS else None), flush=True)
        if figures[0].what != THEIRS:
            print(f"| {tokens} | | {wanted} | {THEIRS} was not asked: minutes for one trace | | | | | | |")
        same += found["agreement"]
    bench.close()
    show(same)


def show(same: Sequence[dict[str, Any]]) -> None:
    print("\n| tokens | features | what | shared features | largest difference | typical | nodes apart | edges apart |")
    print("|---|---|---|---|---|---|---|---|")
    for one in same:
        print(
            f"| {one['tokens']} | {one['features']} | {one['what']} | {one['shared']} | {one['largest']:.1e} | "
            f"{one['typical']:.1e} | {one['nodes_apart']} | {one['edges_apart']} of {one['edges']} |"
        )


def exact(bench: Bench, points: Points, settings: dict[int, Setting], chosen: argparse.Namespace) -> None:
    """Both sides beside the same rows in float64, forward pass included: what each one's rounding comes to."""

    def point(tokens: int, wanted: int) -> dict[str, Any]:
        files = {what: PLACE / f"{number}.safetensors" for number, what in enumerate((THEIRS, SOME[0], EXACT))}
        for what, file in files.items():
            bench.ask(what, settings[tokens], tokens, wanted, save=str(file))
        truth = our_result(files[EXACT])
        sides = {THEIRS: their_result(files[THEIRS]), SOME[0]: our_result(files[SOME[0]])}
        return {
            "agreement": [
                {"tokens": tokens, "wanted": wanted, "what": f"{what} and float64", **asdict(agreement(side, truth))}
                for what, side in sides.items()
            ]
        }

    for tokens in chosen.tokens[:2]:
        wanted = chosen.probe
        name = f"exact: {tokens} tokens, {wanted} features"
        show(points.get(name, lambda t=tokens, n=wanted: point(t, n))["agreement"])
    bench.close()


# ------------------------------------------------------------ memory


def memory(bench: Bench, points: Points, settings: dict[int, Setting], chosen: argparse.Namespace) -> None:
    """A fresh process for each figure, with the C allocator as it is."""
    print("\n| tokens | features | what | peak, MB | of it on top of what is loaded | × less, whole | × less, on top |")
    print("|---|---|---|---|---|---|---|")
    long = [] if chosen.quick else [(512, 8000)]
    for tokens, wanted in [*((tokens, chosen.probe) for tokens in chosen.memory_tokens), *long]:
        setting = replace(settings.get(tokens, settings[max(chosen.tokens)]), keeping=False)
        both = ("ours, its ranking", "ours, highest influence first")
        base: Memory | None = None
        for what in both[1:] if (tokens, wanted) in long else (THEIRS, *both):
            name = f"memory: {tokens} tokens, {wanted} features, {what}"
            try:
                each = Memory(**points.get(name, partial(held, bench, what, setting, tokens, wanted)))
            except RuntimeError:
                print(f"| {tokens} | {wanted} | {what} | refused: its plan does not fit | | | |", flush=True)
                continue
            base = base or each
            print(
                f"| {tokens} | {wanted} | {what} | {each.peak:.0f} | {each.on_top:.0f} | "
                f"{base.peak / each.peak:.1f} | {base.on_top / max(each.on_top, 1):.1f} |",
                flush=True,
            )


def held(bench: Bench, what: str, setting: Setting, tokens: int, wanted: int) -> dict[str, Any]:
    bench.close()
    answer = bench.ask(what, setting, tokens, wanted)
    bench.close()
    return asdict(Memory(tokens, wanted, what, answer["peak_mb"], answer["peak_mb"] - answer["loaded_mb"]))


# ------------------------------------------------------------ curves


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of the straight line through the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def curves(bench: Bench, points: Points, chosen: argparse.Namespace) -> None:
    """Ours alone: seconds and memory against length and number of features, and how near the arithmetic they come."""
    setting, what = Setting(), "ours, highest influence first"
    gflops = points.get("curve: product", lambda: {"gflops": bench.gflops()})["gflops"]
    print(f"\nA large matrix product runs at {gflops:.0f} GFLOP/s here.\n")
    print("| tokens | features | CPU s | ms per row | GFLOP | floor s | × floor | peak, MB |")
    print(f"|{'---|' * 8}")

    def point(t: int, n: int) -> dict[str, float]:
        first = bench.ask(what, setting, t, n)
        rounds = chosen.rounds if first["cpu"] < chosen.patience / 10 else 1
        answers = [first, *(bench.ask(what, setting, t, n) for _ in range(1, rounds))]
        cpu = statistics.median(answer["cpu"] for answer in answers)
        return {"tokens": t, "features": first["nodes"], "cpu": cpu} | {k: first[k] for k in ("flops", "peak_mb")}

    found: dict[tuple[int, int], dict[str, float]] = {}
    tokens, features = chosen.curve_tokens, chosen.curve_features
    middle = tokens[len(tokens) // 2], features[len(features) // 2]
    for t, n in dict.fromkeys([*((t, middle[1]) for t in tokens), *((middle[0], n) for n in features)]):
        one = found[t, n] = points.get(f"curve: {t} tokens, {n} features", lambda t=t, n=n: point(t, n))
        floor = one["flops"] / gflops / 1e9
        print(
            f"| {t} | {one['features']:.0f} | {one['cpu']:.2f} | {1000 * one['cpu'] / one['features']:.2f} | "
            f"{one['flops'] / 1e9:.0f} | {floor:.2f} | {one['cpu'] / floor:.1f} | {one['peak_mb']:.0f} |",
            flush=True,
        )
    bench.close()
    lines = {"tokens": [(t, middle[1]) for t in tokens], "features": [(middle[0], n) for n in features]}
    slopes = [
        f"{value} against {axis} {exponent([found[at][axis] for at in line], [found[at][value] for at in line]):.2f}"
        for axis, line in lines.items()
        for value in ("cpu", "peak_mb")
        if len(line) > 1
    ]
    print("Exponents: " + ", ".join(slopes))


# ------------------------------------------------------------ all of it


def measure(chosen: argparse.Namespace) -> None:
    bench = Bench(chosen.basis)
    PLACE.mkdir(parents=True, exist_ok=True)
    machine = {"processor": processor(), "torch": torch.__version__, "threads": 1}
    points = Points(chosen.out, machine | {"basis": chosen.basis and chosen.basis.name})
    settings = {tokens: Setting(batch=chosen.batches[0]) for tokens in chosen.tokens}
    try:
        if "settings" in chosen.only:
            settings = best_settings(bench, points, chosen)
        if "cells" in chosen.only:
            cells(bench, points, settings, chosen)
        if "exact" in chosen.only:
            exact(bench, points, settings, chosen)
        if "memory" in chosen.only:
            memory(bench, points, settings, chosen)
        if "curves" in chosen.only:
            curves(bench, points, chosen)
    finally:
        bench.close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few small cells: a look, not a measurement")
    parser.add_argument("--basis", type=Path, help="per-layer transcoders of the embedded model, in any format")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--tokens", type=int, nargs="+", default=[12, 32, 93])
    parser.add_argument("--features", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 8, 64])
    parser.add_argument("--probe", type=int, default=500, help="features, where settings and memory are looked at")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=40, help="CPU seconds of a side in a cell, before the last")
    parser.add_argument("--most", type=int, default=70_000, help="tokens × features that circuit-tracer is asked for")
    parser.add_argument("--memory-tokens", type=int, nargs="+", default=[12, 64])
    parser.add_argument("--curve-tokens", type=int, nargs="+", default=[12, 24, 48, 96, 192, 384])
    parser.add_argument("--curve-features", type=int, nargs="+", default=[250, 500, 1000, 2000, 4000])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.tokens, chosen.features, chosen.batches = [12], [200], [16, 64]
        chosen.probe, chosen.rounds, chosen.memory_tokens = 100, 2, [12]
        chosen.curve_tokens, chosen.curve_features = [12, 24], [100, 200]
    return chosen


if __name__ == "__main__":
    measure(arguments())
