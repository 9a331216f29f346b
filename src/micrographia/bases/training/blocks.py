"""Blocks of activations: some thousand positions of text, read from the model once and shuffled together.

A block is a function of its number alone, so a training can be taken up at any block and goes on as it would have.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.bases.training.config import TrainConfig
from micrographia.corpus.windows import Windows as CorpusRow
from micrographia.errors import CallError, WorkError
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.model.site import Point, Site

__all__ = ["Block", "Blocks", "OfCorpus", "Windows"]


@runtime_checkable
class Windows(Protocol):
    """Windows of token ids of one length, numbered without end: the same numbers always give the same windows."""

    def __call__(self, first: int, count: int, /) -> Int[Tensor, "window pos"]: ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class OfCorpus:
    """The windows of a corpus."""

    row: CorpusRow

    def __call__(self, first: int, count: int, /) -> Int[Tensor, "window pos"]:
        return torch.from_numpy(np.stack([self.row[number].ids for number in range(first, first + count)]))


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Inputs and outputs of the MLPs at the same shuffled positions, for each layer that is trained."""

    number: int
    inputs: Mapping[Layer, Float[Tensor, "row d_model"]]
    outputs: Mapping[Layer, Float[Tensor, "row d_model"]]

    @property
    def n_rows(self) -> int:
        return len(next(iter(self.inputs.values())))

    def batches(self, config: TrainConfig) -> Iterator[Int[Tensor, " row"]]:
        """The rows of every step on this block, pass after pass."""
        device = next(iter(self.inputs.values())).device
        for number in range(config.passes):
            order = torch.arange(self.n_rows)
            if number:  # the first pass takes them as they were shuffled
                order = _shuffled(self.n_rows, config.seed, self.number, number)
            yield from order.to(device).split(config.batch)


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Reads blocks from a model over the windows of a corpus."""

    model: Model
    windows: Windows
    layers: tuple[Layer, ...]
    config: TrainConfig
    at_once: int = 8
    """Windows per forward pass."""

    def __post_init__(self) -> None:
        config, a = self.config, self.model.anatomy
        if config.window <= config.drop_first:
            raise CallError(
                f"Windows of {config.window} tokens have no position left when {config.drop_first} are dropped."
            )
        if config.window > a.context:
            raise CallError(f"Windows of {config.window} tokens are longer than the model's context, {a.context}.")
        missing = [layer for layer in self.layers if not 0 <= layer < a.n_layers]
        if missing or not self.layers:
            asked = ", ".join(map(str, missing)) or "none"
            raise CallError(f"{self.model.name} has the layers 0 to {a.n_layers - 1}, and {asked} is to be trained.")

    @property
    def n_windows(self) -> int:
        """Windows per block."""
        return -(-self.config.block // (self.config.window - self.config.drop_first))

    def empty(self, *, shared: bool = False) -> Block:
        """Room for a block, in memory that other processes may share."""
        shape, dtype = (self.config.block, self.model.anatomy.d_model), self.config.kept_as()
        room = partial(torch.empty, shape, dtype=dtype, device=self.model.device)
        inputs, outputs = ({layer: room() for layer in self.layers} for _ in range(2))
        if shared:
            for tensor in (*inputs.values(), *outputs.values()):
                tensor.share_memory_()
        return Block(-1, inputs, outputs)

    def __call__(self, number: int, into: Block | None = None) -> Block:
        """Block `number`, written into the room of an older one where there is one."""
        room = into or self.empty()
        ids = self.windows(number * self.n_windows, self.n_windows)
        per_window = self.config.window - self.config.drop_first
        places = _shuffled(len(ids) * per_window, self.config.seed, number, 0).argsort().view(len(ids), per_window)
        for start in range(0, len(ids), self.at_once):
            rows = slice(start, start + self.at_once)
            self._read(ids[rows], places[rows].flatten().to(self.model.device), room)
        return Block(number, room.inputs, room.outputs)

    def _read(self, ids: Int[Tensor, "window pos"], places: Int[Tensor, " row"], room: Block) -> None:
        """Put the MLPs' inputs and outputs over a few windows where the shuffle wants them; some have no place."""
        rows = cast("list[list[int]]", ids.tolist())
        prompts = [self.model.tokenizer.from_ids(row) for row in rows]
        sites = [Site(point, layer) for layer in self.layers for point in (Point.MLP_IN, Point.MLP_OUT)]
        run = self.model.run(prompts, read=sites, logits="none")
        placed = places < self.config.block
        for point, side in ((Point.MLP_IN, room.inputs), (Point.MLP_OUT, room.outputs)):
            for layer, tensor in side.items():
                found = run[Site(point, layer)][:, self.config.drop_first :].flatten(0, 1)[placed].to(tensor.dtype)
                if not found.isfinite().all():
                    raise WorkError(
                        f"{self.model.name} computes what is no number at {Site(point, layer)}. "
                        "Open it in float32: --dtype float32."
                    )
                tensor[places[placed]] = found


def _shuffled(n: int, seed: int, block: int, number: int) -> Int[Tensor, " row"]:
    generator = torch.Generator().manual_seed((seed * 1_000_003 + block) * 64 + number)
    return torch.randperm(n, generator=generator)
