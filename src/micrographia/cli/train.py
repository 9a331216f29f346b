"""`micrographia train`: transcoders for a model, from a corpus."""

import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from micrographia.cli.options import ModelOptions
from micrographia.cli.screen import inert, print_json, results
from micrographia.errors import WorkError

if TYPE_CHECKING:
    from types import FrameType

    from micrographia.bases.training.prepare import Training
    from micrographia.bases.training.trainer import BlockProgress, Trainer
    from micrographia.model.model import Model

__all__ = ["TrainChoices", "train"]

_POSITIVE = validators.Number(gte=1)
_COLUMNS = 3


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class TrainChoices:
    """What decides the result; what is not said is left to a file or to the defaults."""

    architecture: Annotated[
        Literal["per-layer", "cross-layer"] | None, Parameter(help="Whether features write to later layers too.")
    ] = None
    features: Annotated[int | None, Parameter(validator=_POSITIVE, help="Features per layer.")] = None
    k: Annotated[int | None, Parameter(validator=_POSITIVE, help="Active features per position and layer.")] = None
    selection: Annotated[
        Literal["topk", "batchtopk"] | None, Parameter(help="Exactly k, or k on average and a threshold in the end.")
    ] = None
    skip: Annotated[bool | None, Parameter(help="An affine path beside the features.")] = None
    layers: Annotated[
        tuple[int, ...] | None, Parameter(help="The layers to train.", consume_multiple=True, negative="")
    ] = None
    tokens: Annotated[int | None, Parameter(validator=_POSITIVE, help="Positions to read.")] = None
    passes: Annotated[int | None, Parameter(validator=_POSITIVE, help="How often each block is trained on.")] = None
    window: Annotated[int | None, Parameter(validator=_POSITIVE, help="Tokens per window of text.")] = None
    block: Annotated[int | None, Parameter(validator=_POSITIVE, help="Positions that are shuffled together.")] = None
    batch: Annotated[int | None, Parameter(validator=_POSITIVE, help="Positions per step.")] = None
    learning_rate: Annotated[float | None, Parameter(help="Default: 2.6e-3 times the root of 16384 / features.")] = None
    precision: Annotated[
        Literal["fp32", "bf16"] | None, Parameter(help="How wide activations and dense products are. Default: looks.")
    ] = None
    seed: Annotated[int | None, Parameter(help="Decides the order of the text and the first weights.")] = None

    def said(self) -> dict[str, object]:
        """The choices that were made."""
        made = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in made.items() if value is not None and value != ()}


def train(
    *,
    corpus: Annotated[Path, Parameter(help="The corpus to train on; see 'micrographia corpus build'.")],
    out: Annotated[Path, Parameter(help="The folder for checkpoints, log and transcoders.")],
    config: Annotated[Path | None, Parameter(help="A TOML file of choices; flags go before it.")] = None,
    resume: Annotated[bool, Parameter(help="Go on from the folder's checkpoint.", negative="")] = False,
    start_from: Annotated[Path | None, Parameter(help="A folder with transcoders to begin from.")] = None,
    workers: Annotated[
        int | None,
        Parameter(
            validator=validators.Number(gte=0),
            help="Processes that train while this one reads; 0: none. Default: 1 on a CPU, 0 on a GPU.",
        ),
    ] = None,
    save_every: Annotated[int, Parameter(validator=_POSITIVE, help="Blocks between checkpoints.")] = 4,
    storage: Annotated[
        Literal["fp32", "bf16", "int8"], Parameter(help="How the finished transcoders are stored.")
    ] = "fp32",
    json: Annotated[bool, Parameter(help="Print the result as JSON.", negative="")] = False,
    choices: TrainChoices = TrainChoices(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Train transcoders: sparse features that stand in for a model's MLPs.

    All layers are trained from one stream of the model's own activations. Ctrl-C ends after the block at hand; from
    there, or after a crash, --resume goes on and ends with the same numbers. --resume with more --tokens trains longer.

        micrographia corpus build --out corpus
        micrographia train --corpus corpus --out run --features 2048 --k 32
        micrographia evaluate run/transcoders --corpus corpus
    """
    from micrographia.bases.training import log
    from micrographia.bases.training.prepare import chosen_config, finish, prepare
    from micrographia.corpus.corpus import Corpus

    flags = choices.said() | ({} if start_from is None else {"start": start_from.name})
    wanted = chosen_config(out, config, flags, resume=resume)
    text = Corpus.open(corpus)
    if not resume and "precision" not in wanted.model_fields_set:
        wanted = wanted.model_copy(update={"precision": _precision(model_options.device)})
    model = _opened(model_options, wanted.precision)
    if workers is None:
        workers = 1 if model.device.type == "cpu" else 0
    training = prepare(out, text, model, wanted, workers=workers, save_every=save_every, start=start_from)
    trainer = training.trainer
    log.cut_back(out, trainer.next_block)
    start, last = time.perf_counter(), None
    with _told_to_stop_by_ctrl_c(trainer), _table(training) as show:
        for progress in trainer.run():
            log.append(out, progress)
            show(progress)
            last = progress
    if trainer.saved_block == 0:
        raise WorkError(f"Stopped before the first of {trainer.config.n_blocks()} blocks was done: nothing was kept.")
    folder = finish(training, storage)
    _print_end(training, folder, last, time.perf_counter() - start, as_json=json)
    if trainer.stopped:
        sys.exit(130)


def _opened(options: ModelOptions, precision: str) -> "Model":
    """The model as wide as what is kept of it, unless somebody says otherwise."""
    dtype = options.dtype or ("bfloat16" if precision == "bf16" else "float32")
    return replace(options, dtype=dtype).open().model


def _precision(device: str | None) -> str:
    """bfloat16 where this machine multiplies it faster than float32."""
    import torch

    from micrographia.model.machine import choose_device, matmul_speed

    there = choose_device(device)
    narrow, wide = (matmul_speed(dtype, there).gflops for dtype in (torch.bfloat16, torch.float32))
    return "bf16" if narrow > 1.2 * wide else "fp32"


@contextmanager
def _told_to_stop_by_ctrl_c(trainer: "Trainer") -> Generator[None]:
    """The first Ctrl-C ends the training after its block; a second one ends it at once."""

    def stop(number: int, frame: "FrameType | None") -> None:
        trainer.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        Console(stderr=True).print("This block is finished and saved first. Ctrl-C again: at once, without that.")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _table(training: "Training") -> "Generator[Callable[[BlockProgress], None]]":
    """A table that lives on stderr while somebody looks; the log has the same figures in any case."""
    console = Console(stderr=True, highlight=False, markup=False)
    start, first = time.perf_counter(), training.trainer.next_block
    if not console.is_terminal:
        yield lambda progress: None
        return
    with Live(Text("reading the first block …"), console=console, transient=True, auto_refresh=False) as live:
        yield lambda progress: live.update(_shown(progress, start, first), refresh=True)


def _line(progress: "BlockProgress", start: float, first: int) -> str:
    """How far it is, how fast, how good, and how long it still takes."""
    elapsed = time.perf_counter() - start
    per_block = elapsed / (progress.block - first)
    rate = progress.positions / progress.block / per_block
    left = timedelta(seconds=round(per_block * (progress.of - progress.block)))
    return (
        f"block {progress.block}/{progress.of}  {progress.positions:,} positions  {rate:,.0f} tokens/s  "
        f"FVU {progress.mean('fvu'):.4f}  L0 {progress.mean('l0'):.1f}  dead {progress.mean('dead'):.1%}  ETA {left}"
    )


def _shown(progress: "BlockProgress", start: float, first: int) -> Group:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for _ in range(_COLUMNS):
        for name in ("layer", "FVU", "L0", "dead"):
            table.add_column(name, justify="right")
        table.add_column("  ")
    cells = [
        (str(layer), f"{found.fvu:.3f}", f"{found.l0:.1f}", f"{found.dead:.1%}", "")
        for layer, found in sorted(progress.layers.items())
    ]
    height = -(-len(cells) // _COLUMNS)
    for row in range(height):
        table.add_row(*(cell for column in range(row, len(cells), height) for cell in cells[column]))
    return Group(Text(_line(progress, start, first)), table)


def _print_end(
    training: "Training", folder: Path, last: "BlockProgress | None", seconds: float, *, as_json: bool
) -> None:
    trainer = training.trainer
    done, of = trainer.next_block, trainer.config.n_blocks()
    figures = {} if last is None else {name: last.mean(name) for name in ("fvu", "l0", "dead")}
    if as_json:
        print_json({"folder": str(folder), "blocks": done, "of": of, "seconds": seconds, "training_text": figures})
        return
    console = results()
    if last is not None:
        console.print(
            f"FVU {figures['fvu']:.4f}, L0 {figures['l0']:.1f} per layer, dead {figures['dead']:.1%}: means over "
            f"{len(last.layers)} layers, on the last block of the training text."
        )
    if done < of:
        console.print(inert(f"Stopped before block {done} of {of}. Go on: the same command with --resume."))
    console.print(inert(f"Written: {folder}"))
    console.print(inert(f"On held-out text: micrographia evaluate {folder} --corpus {training.corpus.folder}"))
