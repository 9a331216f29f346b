"""Blocks of activations: some thousand positions of text, read from the model once and shuffled together.

A block is a function of its number alone, so a training can be taken up at any block and goes on as it would have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.bases.training.config import TrainConfig
from micrographia.errors import CallError
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.model.site import Point, Site

__all__ = ["Block", "Blocks", "Windows"]


@runtime_checkable
class Windows(Protocol):
    """Windows of token ids of one length, numbered without end: the same numbers always give the same windows."""

    def __call__(self, first: int, count: int, /) -> Int[Tensor, "window pos"]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Inputs and outputs of the MLPs at the same shuffled positions, for each layer that is trained."""

    inputs: Mapping[Layer, Float[Tensor, "row d_model"]]
    outputs: Mapping[Layer, Float[Tensor, "row d_model"]]
    n_rows: int


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
        if self.config.window <= self.config.drop_first:
            raise CallError(
                f"Windows of {self.config.window} tokens have no position left "
                f"when {self.config.drop_first} are dropped."
            )
        if self.config.window > self.model.anatomy.context:
            raise CallError(
                f"Windows of {self.config.window} tokens are longer than "
                f"the model's context, {self.model.anatomy.context}."
            )

    @property
    def n_windows(self) -> int:
        """Windows per block."""
        return -(-self.config.block // (self.config.window - self.config.drop_first))

    def __call__(self, number: int) -> Block:
        ids = self.windows(number * self.n_windows, self.n_windows)
        read = [self._read(ids[start : start + self.at_once]) for start in range(0, len(ids), self.at_once)]
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + number)
        order = torch.randperm(sum(len(part[0][self.layers[0]]) for part in read), generator=generator)
        order = order[: self.config.block].to(self.model.device)
        inputs, outputs = (
            {layer: torch.cat([part[side][layer] for part in read])[order] for layer in self.layers} for side in (0, 1)
        )
        return Block(inputs, outputs, len(order))

    def _read(self, ids: Int[Tensor, "window pos"]) -> tuple[Mapping[Layer, Tensor], Mapping[Layer, Tensor]]:
        """The MLPs' inputs and outputs over a few windows, the dropped positions left out."""
        rows = cast("list[list[int]]", ids.tolist())
        prompts = [self.model.tokenizer.from_ids(row) for row in rows]
        sites = [Site(point, layer) for layer in self.layers for point in (Point.MLP_IN, Point.MLP_OUT)]
        run = self.model.run(prompts, read=sites, logits="none")
        first = self.config.drop_first

        def flat(point: Point, layer: Layer) -> Float[Tensor, "row d_model"]:
            return run[Site(point, layer)][:, first:].flatten(0, 1).to(torch.float32)

        return (
            {layer: flat(Point.MLP_IN, layer) for layer in self.layers},
            {layer: flat(Point.MLP_OUT, layer) for layer in self.layers},
        )
