"""What attribution costs, beside circuit-tracer 0.5.0: the same model, transcoders, prompts and features.

    python -m benchmarks.attribution [--quick] [--basis FOLDER] [--only settings cells memory curves] [--out FILE]

**settings** looks for circuit-tracer's best back end, allocator and batch size; without it those known to be good are
taken. **cells** traces prompts of several lengths with several numbers of features, both sides in turn, one thread
each, and compares what comes out: with its own ranking here, the same features and the same edges. **memory** starts a
process for each figure. **curves** is ours alone, over more lengths and numbers, beside the arithmetic that its rows
need at least.

Seconds are CPU seconds of the process, medians over rounds, and wall time stands beside them. `attribute` and `trace`
are timed whole, from token ids to the finished matrix. Memory is the most that was resident during a trace, and beside
it what came on top of the loaded model and transcoders.
"""

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

import micrographia as mg
from benchmarks.attribution_agreement import Agreement, agreement, our_result, their_result
from benchmarks.attribution_inputs import PLACE, peer_basis, peer_model, prompt_of
from benchmarks.peers.running import Peer

SECTIONS = ("settings", "cells", "memory", "curves")
INTERVAL = 4
"""circuit-tracer's own: it ranks anew after so many batches."""
THEIRS = "circuit-tracer"
OURS = {
    "ours, its ranking": {"rule": "ranking", "dtype": "float32"},
    "ours, highest influence first": {"rule": "reaching", "dtype": "float32"},
    "ours, bfloat16": {"rule": "reaching", "dtype": "bfloat16"},
    "ours, every row": {"rule": "everything", "dtype": "float32"},
    "ours, every row, bfloat16": {"rule": "everything", "dtype": "bfloat16"},
}
SOME, EVERY = tuple(OURS)[:3], tuple(OURS)[3:]


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
        key = setting.backend if theirs else "ours", setting.keeping
        if key not in self._peers:
            load = {"model": self.folder, "basis": self.basis, "backend": setting.backend}
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


def best_settings(bench: Bench, chosen: argparse.Namespace) -> tuple[dict[int, Setting], list[dict[str, object]]]:
    """For each length; back ends and allocators are tried on the shortest prompt, batch sizes on all."""
    tried: list[dict[str, object]] = []

    def best(settings: Sequence[Setting], tokens: int) -> Setting:
        seconds: dict[Setting, float] = {}
        for setting in settings:
            seconds[setting] = bench.ask(THEIRS, setting, tokens, chosen.probe)["cpu"]
            tried.append({"tokens": tokens, "features": chosen.probe, **asdict(setting), "cpu": seconds[setting]})
            print(f"  {tokens} tokens, {chosen.probe} features, {setting}: {seconds[setting]:.1f} s", flush=True)
        return min(seconds, key=lambda setting: seconds[setting])

    ways = [Setting(backend, keeping) for backend in ("nnsight", "transformerlens") for keeping in (True, False)]
    way = best(ways, min(chosen.tokens))
    batches = [replace(way, batch=batch) for batch in chosen.batches]
    return {tokens: best(batches, tokens) for tokens in chosen.tokens}, tried


# ------------------------------------------------------------ cells


def cell(
    bench: Bench, setting: Setting, tokens: int, wanted: int | None, chosen: argparse.Namespace
) -> tuple[list[Figure], dict[str, Agreement]]:
    """Both sides in turn, until there are rounds enough or circuit-tracer has taken too long to be asked again."""
    kinds = (THEIRS, *(EVERY if wanted is None else SOME))
    answers: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    files = {kind: PLACE / f"{number}.safetensors" for number, kind in enumerate(kinds)}
    for number in range(chosen.rounds):
        for kind in kinds:
            if kind == THEIRS and sum(answer["wall"] for answer in answers[kind]) > chosen.patience:
                continue
            save = {} if number else {"save": str(files[kind])}
            answers[kind].append(bench.ask(kind, setting, tokens, wanted, prunings=3, **save))
    exact, narrow = our_result(files[kinds[-2]]), our_result(files[kinds[-1]])
    same = {
        f"{kinds[1]} and {THEIRS}": agreement(their_result(files[THEIRS]), our_result(files[kinds[1]])),
        f"{kinds[-1]} and float32": agreement(exact, narrow),
    }
    for file in files.values():
        file.unlink()
    return [figure(kind, tokens, wanted, found) for kind, found in answers.items()], same


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


def row(each: Figure, baseline: Figure) -> str:
    return (
        f"| {each.tokens} | {each.active} | {each.features} | {each.what} | {each.cpu:.2f} | {each.low:.2f}–"
        f"{each.high:.2f} | {each.wall:.2f} | {baseline.cpu / each.cpu:.1f} | {1000 * each.pruning:.1f} | "
        f"{baseline.pruning / each.pruning:.1f} |"
    )


def cells(bench: Bench, settings: dict[int, Setting], chosen: argparse.Namespace) -> dict[str, object]:
    print("\n" + "\n".join(HEAD))
    figures: list[Figure] = []
    same: list[dict[str, object]] = []
    sizes = [(tokens, wanted) for tokens in chosen.tokens for wanted in chosen.features]
    for tokens, wanted in [*sizes, *([] if chosen.quick else [(min(chosen.tokens), None)])]:
        found, agreed = cell(bench, settings[tokens], tokens, wanted, chosen)
        for each in found:
            print(row(each, found[0]), flush=True)
        figures += found
        same += [{"tokens": tokens, "wanted": wanted, "what": what, **asdict(one)} for what, one in agreed.items()]
    bench.close()
    print("\n| tokens | features | what | shared features | largest difference | typical | nodes apart | edges apart |")
    print("|---|---|---|---|---|---|---|---|")
    for one in same:
        print(
            f"| {one['tokens']} | {one['features']} | {one['what']} | {one['shared']} | {one['largest']:.1e} | "
            f"{one['typical']:.1e} | {one['nodes_apart']} | {one['edges_apart']} of {one['edges']} |"
        )
    return {"cells": [asdict(each) for each in figures], "agreement": same}


# ------------------------------------------------------------ memory


def memory(bench: Bench, settings: dict[int, Setting], chosen: argparse.Namespace) -> list[Memory]:
    """A fresh process for each figure, with the C allocator as it is."""
    print("\n| tokens | features | what | peak, MB | of it on top of what is loaded | × less, whole | × less, on top |")
    print("|---|---|---|---|---|---|---|")
    found: list[Memory] = []
    long = [] if chosen.quick else [(512, 8000)]
    for tokens, wanted in [*((tokens, chosen.probe) for tokens in chosen.memory_tokens), *long]:
        setting = replace(settings.get(tokens, Setting()), keeping=False)
        both = ("ours, its ranking", "ours, highest influence first")
        for what in both[1:] if (tokens, wanted) in long else (THEIRS, *both):
            answer = bench.ask(what, setting, tokens, wanted)
            bench.close()
            found.append(Memory(tokens, wanted, what, answer["peak_mb"], answer["peak_mb"] - answer["loaded_mb"]))
            base = next(m for m in found if (m.tokens, m.wanted) == (tokens, wanted))
            print(
                f"| {tokens} | {wanted} | {what} | {found[-1].peak:.0f} | {found[-1].on_top:.0f} | "
                f"{base.peak / found[-1].peak:.1f} | {base.on_top / max(found[-1].on_top, 1):.1f} |",
                flush=True,
            )
    return found


# ------------------------------------------------------------ curves


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of the straight line through the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def curves(bench: Bench, chosen: argparse.Namespace) -> dict[str, object]:
    """Ours alone: seconds and memory against length and number of features, and how near the arithmetic they come."""
    gflops, setting, what = bench.gflops(), Setting(), "ours, highest influence first"
    print(f"\nA large matrix product runs at {gflops:.0f} GFLOP/s here.\n")
    print("| tokens | features | CPU s | ms per row | GFLOP | floor s | × floor | peak, MB |")
    print(f"|{'---|' * 8}")
    points: list[dict[str, float]] = []
    tokens, features = chosen.curve_tokens, chosen.curve_features
    middle = tokens[len(tokens) // 2], features[len(features) // 2]
    for t, n in dict.fromkeys([*((t, middle[1]) for t in tokens), *((middle[0], n) for n in features)]):
        answers = [bench.ask(what, setting, t, n) for _ in range(chosen.rounds)]
        cpu, flops = statistics.median(answer["cpu"] for answer in answers), answers[0]["flops"]
        rows, floor = answers[0]["nodes"], flops / gflops / 1e9
        point = {"tokens": t, "features": rows, "cpu": cpu, "flops": flops, "peak_mb": answers[0]["peak_mb"]}
        points.append(point | {"floor": floor, "asked": n})
        print(
            f"| {t} | {rows:.0f} | {cpu:.2f} | {1000 * cpu / rows:.2f} | {flops / 1e9:.0f} | {floor:.2f} | "
            f"{cpu / floor:.1f} | {point['peak_mb']:.0f} |",
            flush=True,
        )
    bench.close()
    slopes = {
        f"{value} against {axis}": exponent([p[axis] for p in line], [p[value] for p in line])
        for axis, line in (
            ("tokens", [p for p in points if p["asked"] == middle[1]]),
            ("features", [p for p in points if p["tokens"] == middle[0]]),
        )
        for value in ("cpu", "peak_mb")
        if len(line) > 1
    }
    print("Exponents: " + ", ".join(f"{name} {slope:.2f}" for name, slope in slopes.items()))
    return {"gflops": gflops, "points": points, "exponents": slopes}


# ------------------------------------------------------------ all of it


def measure(chosen: argparse.Namespace) -> dict[str, object]:
    bench = Bench(chosen.basis)
    PLACE.mkdir(parents=True, exist_ok=True)
    settings = {tokens: Setting(batch=chosen.batches[0]) for tokens in chosen.tokens}
    results: dict[str, object] = {}
    try:
        if "settings" in chosen.only:
            settings, results["settings"] = best_settings(bench, chosen)
        if "cells" in chosen.only:
            results |= cells(bench, settings, chosen)
        if "memory" in chosen.only:
            results["memory"] = [asdict(each) for each in memory(bench, settings, chosen)]
        if "curves" in chosen.only:
            results["curves"] = curves(bench, chosen)
    finally:
        bench.close()
    best = {str(tokens): asdict(setting) for tokens, setting in settings.items()}
    return results | {"basis": chosen.basis and chosen.basis.name, "circuit-tracer": best}


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
    parser.add_argument("--patience", type=float, default=90, help="wall seconds of circuit-tracer in a cell")
    parser.add_argument("--memory-tokens", type=int, nargs="+", default=[12, 32, 64, 93])
    parser.add_argument("--curve-tokens", type=int, nargs="+", default=[12, 24, 48, 96, 192, 384])
    parser.add_argument("--curve-features", type=int, nargs="+", default=[250, 500, 1000, 2000, 4000])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.tokens, chosen.features, chosen.batches = [12], [200], [16, 64]
        chosen.probe, chosen.rounds, chosen.memory_tokens = 100, 2, [12]
        chosen.curve_tokens, chosen.curve_features = [12, 24], [100, 200]
    return chosen


def main() -> None:
    chosen = arguments()
    results = measure(chosen)
    if chosen.out:
        machine = {"processor": platform.processor(), "torch": torch.__version__, "threads": 1}
        chosen.out.write_text(json.dumps({"machine": machine} | results, indent=1))


if __name__ == "__main__":
    main()
