"""Quality at equal core-seconds: the embedded model's layers by sparsify and by us, from the same windows of text.

    python -m benchmarks.quality --corpus CORPUS --work DIR [--core-seconds 1800] [--only sparsify|ours|compare]

Each side gets one thread and so many CPU seconds of its process, forward passes included. Both read the same windows
of the corpus in the same order, and end with transcoders of one size (`--features`, `--k`, a skip path). Then the
fraction of variance unexplained, Σ‖y−ŷ‖² / Σ‖y−ȳ‖², is measured layer by layer on held-out windows, position 0 left
out, in float32, each side by its own activation rule; intervals are bootstrapped over windows, both sides on the same
ones. The parts can run one by one; what is finished lies in DIR.

sparsify gets its own trainer, optimiser (signum without a schedule, its default), learning rate by its own rule, its
own initialisation, and the batch at which a pilot found it to learn fastest. It can leave out a token but no position,
so it never sees token 0, which stands in front of every window, and of every document inside a window as well. That
token, and now and then another, carries a massive activation wherever it stands: one position in a thousand, which at
some layers is nearly all of the variance. So the comparison is made three times: on all positions but 0, without token
0, and without every position whose output has more than a thousand times the median energy of its window. Our own
learning rate falls to zero at the end, so our speed is measured first and the number of tokens is chosen by it.
"""

import argparse
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import micrographia as mg
from benchmarks.peers.running import fit
from micrographia.bases.formats.convert import open_basis
from micrographia.bases.transcoder import PerLayer
from micrographia.corpus.corpus import Corpus
from micrographia.ids import Layer
from micrographia.model.checkpoint import locate

WINDOW = 256
DRAWS = 1000


def windows_file(corpus: Path, work: Path) -> Path:
    """One pass over the corpus's windows as sparsify reads them: 16-bit ids, one window behind the other."""
    path = work / "windows.bin"
    if not path.exists():
        row = Corpus.open(corpus).windows("train", WINDOW, seed=0)
        np.stack([window.ids for window in row]).astype(np.uint16).tofile(path)
    return path


def train_sparsify(chosen: argparse.Namespace) -> dict[str, float]:
    plan = {
        "model": str(locate(None).folder),
        "windows": str(windows_file(chosen.corpus, chosen.work)),
        "window": WINDOW,
        "features": chosen.features,
        "k": chosen.k,
        "skip": True,
        "sequences": chosen.sequences,
        "pieces": chosen.pieces,
        "autocast": True,
        "optimizer": "signum",
        "core_seconds": chosen.core_seconds,
        "save_every": 250,
        "out": str(chosen.work / "sparsify"),
    }
    return fit("sparsify", plan, chosen.work / "sparsify-plan.json")


def train_ours(chosen: argparse.Namespace) -> dict[str, float]:
    choices = {} if chosen.config is None else tomllib.loads(chosen.config.read_text())
    config = {"precision": "bf16"} | choices | {"features": chosen.features, "k": chosen.k, "skip": True}
    plan = {
        "corpus": str(chosen.corpus),
        "config": config | {"window": WINDOW},
        "core_seconds": chosen.core_seconds,
        "out": str(chosen.work / "ours"),
    }
    return fit("ours", plan, chosen.work / "ours-plan.json")


@dataclass(frozen=True, slots=True)
class Sums:
    """Of one layer and side, window by window: what an FVU and an L0 are made of."""

    error: Tensor
    square: Tensor
    total: Tensor
    """Σ y, a vector per window."""
    rows: Tensor
    active: Tensor

    def fvu(self, windows: Tensor) -> float:
        total, rows = self.total[windows].sum(0), self.rows[windows].sum()
        return float(self.error[windows].sum() / (self.square[windows].sum() - total.square().sum() / rows))

    def l0(self) -> float:
        return float(self.active.sum() / self.rows.sum())


TREATMENTS = ("position 0 left out", "every token 0 left out", "massive outputs left out")
MASSIVE = 1000.0


def kept_by(treatment: str, ids: Tensor, y: Tensor) -> Tensor:
    """Which positions of a window count."""
    first = torch.arange(len(ids)) == 0
    match treatment:
        case "every token 0 left out":
            return ids != 0
        case "massive outputs left out":
            energy = y.square().sum(1)
            return ~first & (energy <= MASSIVE * energy.median())
        case _:
            return ~first


class Meter:
    """Adds windows up, for one side and every treatment."""

    def __init__(self, basis: PerLayer) -> None:
        self.layers = {layer: basis.layers[layer] for layer in basis.layers}
        self.parts: dict[tuple[str, Layer], list[tuple[Tensor, ...]]] = {
            (treatment, layer): [] for treatment in TREATMENTS for layer in self.layers
        }

    def add(self, layer: Layer, ids: Tensor, x: Tensor, y: Tensor) -> None:
        mine = self.layers[layer]
        acts = mine.encoder(x)
        out = torch.addmm(mine.bias, acts, mine.decoder)
        out = out if mine.skip is None else out + x @ mine.skip.T
        error, square = (y - out).square().sum(1).double(), y.square().sum(1).double()
        active = (acts != 0).sum(1).double()
        for treatment in TREATMENTS:
            kept = kept_by(treatment, ids, y)
            sums = (error[kept].sum(), square[kept].sum(), y[kept].double().sum(0), kept.sum(), active[kept].sum())
            self.parts[treatment, layer].append(sums)

    def sums(self, treatment: str, layer: Layer) -> Sums:
        return Sums(*(torch.stack(column) for column in zip(*self.parts[treatment, layer], strict=True)))


@torch.no_grad()
def measured(corpus: Path, n_windows: int, folders: Mapping[str, Path]) -> dict[str, Meter]:
    """Every side on the same held-out windows, in float32."""
    model = mg.open(dtype="float32", device="cpu").model
    meters: dict[str, Meter] = {}
    for side, folder in folders.items():
        basis = open_basis(folder).basis()
        assert isinstance(basis, PerLayer)
        meters[side] = Meter(basis)
    row = Corpus.open(corpus).windows("heldout", WINDOW, seed=0)
    for number in range(min(n_windows, len(row))):
        ids = torch.from_numpy(row[number].ids)
        run = model.run(model.tokenizer.from_ids(ids.tolist()), read=("mlp_in", "mlp_out"), logits="none")
        for layer in map(Layer, range(model.anatomy.n_layers)):
            for meter in meters.values():
                meter.add(layer, ids, run[f"mlp_in.{layer}"][0], run[f"mlp_out.{layer}"][0])
    return meters


def compared(meters: Mapping[str, Meter], treatment: str) -> list[dict[str, float]]:
    generator = torch.Generator().manual_seed(0)
    table: list[dict[str, float]] = []
    for layer in meters["ours"].layers:
        ours, theirs = meters["ours"].sums(treatment, layer), meters["sparsify"].sums(treatment, layer)
        n = len(ours.rows)
        everything = torch.arange(n)
        draws = [torch.randint(n, (n,), generator=generator) for _ in range(DRAWS)]
        gaps = sorted(theirs.fvu(draw) - ours.fvu(draw) for draw in draws)
        table.append(
            {
                "layer": layer,
                "sparsify": theirs.fvu(everything),
                "ours": ours.fvu(everything),
                "gap_low": gaps[round(0.025 * DRAWS)],
                "gap_high": gaps[round(0.975 * DRAWS) - 1],
                "sparsify_l0": theirs.l0(),
                "ours_l0": ours.l0(),
                "positions": int(ours.rows.sum()),
            }
        )
    return table


def show(table: list[dict[str, float]], title: str) -> dict[str, float]:
    print(f"\n{title}\n{'layer':>5} {'sparsify':>9} {'ours':>7} {'gap, 95 %':>16} {'L0':>11}")
    for row in table:
        interval = f"{row['gap_low']:+.3f} … {row['gap_high']:+.3f}"
        actives = f"{row['sparsify_l0']:.1f} / {row['ours_l0']:.1f}"
        print(f"{row['layer']:>5} {row['sparsify']:>9.4f} {row['ours']:>7.4f} {interval:>16} {actives:>11}")
    mean = {key: sum(row[key] for row in table) / len(table) for key in ("sparsify", "ours", "sparsify_l0", "ours_l0")}
    lower = sum(row["ours"] < row["sparsify"] for row in table)
    clear = sum(row["gap_low"] > 0 for row in table)
    print(
        f"mean FVU {mean['sparsify']:.4f} / {mean['ours']:.4f}, mean L0 {mean['sparsify_l0']:.1f} / "
        f"{mean['ours_l0']:.1f}; ours is lower on {lower} of {len(table)} layers, on {clear} beyond the interval."
    )
    return mean | {"lower": lower, "clearly_lower": clear}


def compare(chosen: argparse.Namespace) -> None:
    sides = {side: json.loads((chosen.work / side / "report.json").read_text()) for side in ("sparsify", "ours")}
    for side, report in sides.items():
        print(f"{side}: {report['tokens']:,} tokens in {report['cpu']:.0f} CPU s ({report['wall']:.0f} s of wall)")
    result: dict[str, object] = {"sides": sides, "windows": chosen.windows, "torch": torch.__version__}
    for report in sides.values():
        for place in ("model", "windows", "corpus", "out"):
            report.pop(place, None)
    folders = {"sparsify": chosen.work / "sparsify", "ours": chosen.work / "ours" / "transcoders"}
    meters = measured(chosen.corpus, chosen.windows, folders)
    for treatment in TREATMENTS:
        table = compared(meters, treatment)
        result[treatment] = {"mean": show(table, treatment), "layers": table}
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="where trainings, checkpoints and logs go")
    parser.add_argument("--only", choices=("sparsify", "ours", "compare"))
    parser.add_argument("--core-seconds", type=float, default=1800)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--sequences", type=int, default=2, help="windows per step of sparsify")
    parser.add_argument("--pieces", type=int, default=1, help="into which sparsify cuts a batch")
    parser.add_argument("--config", type=Path, help="a TOML file with our choices; else the defaults in bfloat16")
    parser.add_argument("--windows", type=int, default=200, help="held-out windows to measure on")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.work.mkdir(parents=True, exist_ok=True)
    if chosen.only in (None, "sparsify"):
        print(json.dumps(train_sparsify(chosen)))
    if chosen.only in (None, "ours"):
        print(json.dumps(train_ours(chosen)))
    if chosen.only in (None, "compare"):
        compare(chosen)


if __name__ == "__main__":
    main()
