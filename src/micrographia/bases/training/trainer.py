"""The training itself: block after block, all layers from one stream of forwards.

    for block in blocks:            positions of text, read once, shuffled
        for unit in units:          a layer, or a whole cross-layer transcoder; nothing passes between units
            for batch in block:     one sparse step each

Everything that happens in block n follows from the state before it and from n. So a training that is killed and taken
up from its last checkpoint ends with the same bits as one that was left alone.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from micrographia.bases.training import checkpoint
from micrographia.bases.training.blocks import Block, Blocks
from micrographia.bases.training.checkpoint import Checkpoint, read_state
from micrographia.bases.training.config import TrainConfig
from micrographia.bases.training.crew import Alone, Crew, Job, Processes
from micrographia.bases.training.cross import TrainedCrossLayer
from micrographia.bases.training.layer import TrainedLayer
from micrographia.bases.training.unit import LayerProgress
from micrographia.bases.transcoder import CrossLayer, PerLayer, TranscoderLayer
from micrographia.errors import CallError
from micrographia.ids import Layer
from micrographia.model.weights import MlpWeights

__all__ = ["BlockProgress", "Trainer", "trained_basis"]


@dataclass(frozen=True, slots=True)
class BlockProgress:
    """What one block did to every layer."""

    block: int
    of: int
    positions: int
    """Positions read so far."""
    seconds: float
    """Wall time since the block before."""
    layers: Mapping[Layer, LayerProgress]

    def mean(self, figure: str) -> float:
        """A figure averaged over layers."""
        return sum(float(getattr(each, figure)) for each in self.layers.values()) / len(self.layers)


@final
class Trainer:
    """Trains the layers that its blocks read, saving itself into a folder.

    `workers` processes train, and this one reads; with none, this process does both in turn. `text` names the text
    that the blocks come from; `start` are weights to begin with, named by the configuration.
    """

    def __init__(
        self,
        blocks: Blocks,
        folder: Path,
        *,
        save_every: int = 4,
        workers: int = 0,
        text: str = "",
        start: Mapping[Layer, TranscoderLayer] | None = None,
    ) -> None:
        self.blocks = blocks
        self.config: TrainConfig = blocks.config
        self.folder = folder
        self.save_every = save_every
        self.workers = workers
        self.start = start
        self.text = text
        self.next_block = 0
        self._newest = checkpoint.latest(folder) if folder.is_dir() else None
        if self._newest is not None:
            self.next_block = checkpoint.read(self._newest, self.config, text).block
        layers = blocks.layers
        if self.config.architecture == "cross-layer" and layers != tuple(range(layers[0], layers[0] + len(layers))):
            raise CallError(
                f"A cross-layer transcoder takes layers without gaps, and these are {', '.join(map(str, layers))}."
            )
        self.saved_block = self.next_block
        self.stopped = False

    def basis(self) -> PerLayer | CrossLayer:
        """The transcoders as the last checkpoint has them."""
        return trained_basis(self.folder)

    def stop(self) -> None:
        """End after the block that is being trained on, with a checkpoint."""
        self.stopped = True

    def run(self) -> Iterator[BlockProgress]:
        """Train to the end, reporting after each block; the last checkpoint stays."""
        last = self.config.n_blocks()
        if self.next_block >= last:
            return
        rooms = tuple(self.blocks.empty(shared=self.workers > 0) for _ in range(2 if self.workers else 1))
        crew = self._crew(Job(self.config, self._mlps(), rooms, self._newest, start=self.start))
        try:
            yield from self._blocks(crew, rooms)
        finally:
            crew.close()

    def _blocks(self, crew: Crew, rooms: tuple[Block, ...]) -> Iterator[BlockProgress]:
        """With a second room, the next block is read while the crew trains on this one."""
        last, here, clock = self.config.n_blocks(), 0, time.perf_counter()
        self.blocks(self.next_block, rooms[here])
        while self.next_block < last and not self.stopped:
            crew.begin(here, self.next_block)
            there, more = (here + 1) % len(rooms), self.next_block + 1 < last
            if more and there != here:
                self.blocks(self.next_block + 1, rooms[there])
            layers = crew.finish()
            self.next_block += 1
            if self.next_block % self.save_every == 0 or not more:
                self._save(crew)
            now = time.perf_counter()
            yield BlockProgress(self.next_block, last, self.next_block * self.config.block, now - clock, layers)
            clock = now
            if more and there == here and not self.stopped:
                self.blocks(self.next_block, rooms[here])
            here = there
        if self.saved_block < self.next_block:
            self._save(crew)

    def _crew(self, job: Job) -> Crew:
        return Processes(job, self.workers) if self.workers else Alone(job)

    def _mlps(self) -> Mapping[Layer, MlpWeights]:
        blocks = self.blocks.model.weights.blocks
        return {layer: blocks[layer].mlp for layer in self.blocks.layers}

    def _save(self, crew: Crew) -> None:
        now = Checkpoint(block=self.next_block, config=self.config, layers=self.blocks.layers, text=self.text)
        self._newest = checkpoint.save(self.folder, now, crew.save)
        self.saved_block = self.next_block


def trained_basis(folder: Path) -> PerLayer | CrossLayer:
    """The transcoders of the newest checkpoint in a folder, as they stand."""
    newest = checkpoint.latest(folder)
    if newest is None:
        raise CallError(f"{folder} holds no checkpoint of a training.")
    found, device = checkpoint.peek(newest), torch.device("cpu")
    layers = tuple(map(Layer, found.layers))
    if found.config.architecture == "cross-layer":
        return TrainedCrossLayer.restored(found.config, layers, read_state(newest, "cross", device)).finished()
    return PerLayer(
        {
            layer: TrainedLayer.restored(found.config, layer, read_state(newest, f"layer-{layer}", device)).finished()
            for layer in layers
        }
    )
