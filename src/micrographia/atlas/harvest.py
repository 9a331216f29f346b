"""One reader at work: text through the model, block by block, and every layer's features into its sketch.

A reader writes down what it has now and then, with the numbers of the blocks that are in it. Blocks may be shared out
among readers in any way: what they have written adds up to the same bits.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias, cast, final

import numpy as np
import torch
from torch import Tensor

from micrographia.atlas.files import mapped, write_arrays
from micrographia.atlas.sketch import Rows, Shape, Sketch
from micrographia.atlas.text import Text
from micrographia.atlas.watch import Span, Watch
from micrographia.ids import Layer
from micrographia.model.anatomy import Anatomy
from micrographia.model.batch import Batch
from micrographia.model.forward import forward
from micrographia.model.hooks import Gate, Hooks, Reader
from micrographia.model.site import Site
from micrographia.model.weights import Weights

__all__ = ["Harvest", "Job", "blocks_in", "layer_of_part", "look", "parts_in"]

_BLOCKS = "blocks"
_Tell: TypeAlias = Callable[[int], object]
"""Told the number of each block that is done."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What a reader must know."""

    weights: Weights
    anatomy: Anatomy
    watches: tuple[Watch, ...]
    folder: Path
    """Where the text lies, and where what is done is written down."""
    block: int
    """Windows per block."""
    span: Span
    shape: Shape
    seed: int
    save_seconds: float
    """How long to work between two times of writing down."""


def look(job: Job, ids: Tensor, see: Callable[[Watch, Tensor], object], *, device: torch.device | None = None) -> None:
    """Run the model on windows of one length and show each watch its activations as they pass."""
    n, length = ids.shape
    ids = ids.to(device or job.weights.embed.device)
    positions = torch.arange(length, device=ids.device).expand(n, length)
    batch = Batch(ids, None, positions, torch.full((n,), length, device=ids.device))
    readers: dict[Site, list[Reader]] = {watch.site: [_Shown(watch, see)] for watch in job.watches}
    depth = max(watch.layer for watch in job.watches) + 1
    with torch.no_grad():
        forward(job.weights, job.anatomy, batch, Gate(Hooks(readers=readers)), wanted="none", depth=depth)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    watch: Watch
    see: Callable[[Watch, Tensor], object]

    def __call__(self, act: Tensor, site: Site, /) -> None:
        self.see(self.watch, act)


@final
class Harvest:
    """A reader, with what it has seen: nothing, or what it wrote down before under the same number."""

    __slots__ = ("_job", "_path", "_saved", "_text", "done", "sketches")

    def __init__(self, job: Job, number: int) -> None:
        self._job, self._text = job, Text.open(job.folder)
        self._path = job.folder / f"part-{number}.safetensors"
        self.done: list[int] = blocks_in(self._path) if self._path.exists() else []
        self.sketches: Mapping[Layer, Sketch] = {
            watch.layer: layer_of_part(self._path, watch.layer, job.shape)
            if self.done
            else Sketch(watch.n_features, job.shape)
            for watch in job.watches
        }

    def read(self, blocks: Iterable[int], *, stopped: Callable[[], bool], tell: _Tell) -> None:
        """Take in blocks until there are no more or it is stopped, and write down what there is."""
        since, unsaved = time.monotonic(), False
        for number in blocks:
            if stopped():
                break
            self.add(number)
            unsaved = True
            if time.monotonic() - since >= self._job.save_seconds:
                self.save()
                since, unsaved = time.monotonic(), False
            tell(number)
        if unsaved:
            self.save()

    def add(self, number: int) -> None:
        """Take in one block."""
        first, ids = number * self._job.block, self._text.ids
        windows = ids[first : first + self._job.block]
        rows = self._text.rows(first, len(windows), self._job.seed)
        look(self._job, torch.from_numpy(windows.astype(np.int64)), partial(self._see, rows))
        self.done.append(number)

    def save(self) -> None:
        """Write down what there is."""
        arrays = {
            f"{layer}/{name}": array
            for layer, sketch in self.sketches.items()
            for name, array in sketch.arrays().items()
        }
        done = np.array(sorted(self.done), dtype=np.int64)
        write_arrays(self._path, {**arrays, _BLOCKS: done})

    def _see(self, rows: Rows, watch: Watch, act: Tensor) -> None:
        self.sketches[watch.layer].add(watch(act, self._job.span), rows)


def parts_in(folder: Path) -> list[Path]:
    """What readers have written down in a folder."""
    return sorted(folder.glob("part-*.safetensors"))


def blocks_in(part: Path) -> list[int]:
    """The numbers of the blocks that are in a part."""
    return cast("list[int]", mapped(part)[_BLOCKS].tolist())


def layer_of_part(part: Path, layer: Layer, shape: Shape) -> Sketch:
    """The sketch of one layer in a part."""
    head = f"{layer}/"
    held = mapped(part)
    arrays = {name.removeprefix(head): held[name].copy() for name in held if name.startswith(head)}
    return Sketch.restored(arrays, shape)
