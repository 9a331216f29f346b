"""The training itself: block after block, all layers from one stream of forwards.

    for block in blocks:            positions of text, read once, shuffled
        for layer in layers:        each has its own weights; nothing passes between layers
            for batch in block:     one sparse step each

Everything that happens in block n follows from the state before it and from n. So a training that is killed and taken
up from its last checkpoint ends with the same bits as one that was left alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from micrographia.bases.training import checkpoint
from micrographia.bases.training.blocks import Block, Blocks
from micrographia.bases.training.config import TrainConfig
from micrographia.bases.training.layer import LayerProgress, TrainedLayer
from micrographia.bases.training.start import begin
from micrographia.bases.transcoder import PerLayer
from micrographia.ids import Layer

__all__ = ["BlockProgress", "Trainer", "rate_at"]


@dataclass(frozen=True, slots=True)
class BlockProgress:
    """What one block did to every layer."""

    block: int
    of: int
    positions: int
    """Positions trained on so far."""
    layers: Mapping[Layer, LayerProgress]


@final
class Trainer:
    """Trains the layers that its blocks read, saving itself into a folder."""

    def __init__(self, blocks: Blocks, folder: Path, *, save_every: int = 8) -> None:
        self.blocks = blocks
        self.config: TrainConfig = blocks.config
        self.folder = folder
        self.save_every = save_every
        self.next_block = 0
        self.layers: dict[Layer, TrainedLayer] = {}
        newest = checkpoint.latest(folder) if folder.is_dir() else None
        if newest is not None:
            self.next_block, self.layers = checkpoint.restore(newest, self.config, blocks.model.device)

    def run(self) -> Iterator[BlockProgress]:
        """Train to the end, reporting after each block; the last checkpoint stays."""
        last = self.config.n_blocks()
        while self.next_block < last:
            progress = self._train(self.blocks(self.next_block))
            self.next_block += 1
            if self.next_block % self.save_every == 0 or self.next_block == last:
                checkpoint.save(self.folder, self.config, self.next_block, self.layers)
            yield progress

    def basis(self) -> PerLayer:
        """The transcoders as they stand."""
        return PerLayer({layer: trained.finished() for layer, trained in self.layers.items()})

    def _train(self, block: Block) -> BlockProgress:
        if not self.layers:
            self.layers = {layer: self._begin(layer, block) for layer in self.blocks.layers}
        done = {layer: self._train_layer(trained, block, layer) for layer, trained in self.layers.items()}
        return BlockProgress(self.next_block, self.config.n_blocks(), (self.next_block + 1) * self.config.block, done)

    def _begin(self, layer: Layer, block: Block) -> TrainedLayer:
        mlp = self.blocks.model.weights.blocks[layer].mlp
        seed = self.config.seed * 1_000 + layer
        parameters, statistics = begin(self.config, mlp, block.inputs[layer], block.outputs[layer], seed)
        return TrainedLayer(self.config, parameters, statistics)

    def _train_layer(self, trained: TrainedLayer, block: Block, layer: Layer) -> LayerProgress:
        x, y = block.inputs[layer], block.outputs[layer]
        total = self.config.n_blocks() * -(-self.config.block // self.config.batch)
        losses: list[float] = []
        actives: list[float] = []
        for start in range(0, len(x), self.config.batch):
            rows = slice(start, start + self.config.batch)
            loss, l0 = trained.step(x[rows], y[rows], rate_at(self.config, trained.steps, total))
            losses.append(loss)
            actives.append(l0)
        dead = trained.dead_share()
        if trained.steps < 0.8 * total:
            trained.replant(x[: self.config.batch], y[: self.config.batch])
        return LayerProgress(sum(losses) / len(losses), sum(actives) / len(actives), dead)


def rate_at(config: TrainConfig, step: int, total: int) -> float:
    """The learning rate of a step: up over the warm-up, then down in a line to zero."""
    warm = max(1, int(config.warm_up * total))
    if step < warm:
        return config.peak_rate() * (step + 1) / warm
    return config.peak_rate() * max(0.0, (total - step) / max(1, total - warm))
