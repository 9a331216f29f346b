"""What a training is asked to do: one record, from TOML or from flags."""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["TrainConfig"]


class TrainConfig(BaseModel):
    """Every choice that a training's result depends on; two trainings with equal configs end alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int = Field(default=2048, ge=1)
    """Features per layer."""
    k: int = Field(default=32, ge=1)
    """Active features per position: exactly (topk) or on average (batchtopk)."""
    selection: Literal["topk", "batchtopk"] = "batchtopk"
    skip: bool = True
    """An affine path from input to output beside the features."""
    layers: tuple[int, ...] | None = None
    """The layers to train; None is all of them."""
    tokens: int = Field(default=2_000_000, ge=1)
    """Positions to train on, the dropped first ones not counted."""
    window: int = Field(default=256, ge=2)
    """Tokens per window of the corpus."""
    drop_first: int = Field(default=1, ge=0)
    """Positions at a window's start that are left out: position 0 carries a massive activation."""
    block: int = Field(default=16_384, ge=1)
    """Positions that are read at once and shuffled together."""
    batch: int = Field(default=2_048, ge=1)
    """Positions per step."""
    learning_rate: float | None = Field(default=None, gt=0)
    """None is 2e-4 · √(16384 / features)."""
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    """The share of the steps over which the rate rises; after that it falls linearly to zero."""
    dead_after: int = Field(default=200_000, ge=1)
    """A feature that was never active in so many positions is planted anew."""
    seed: int = 0

    def peak_rate(self) -> float:
        return self.learning_rate or 2e-4 * (16_384 / self.features) ** 0.5

    def n_blocks(self) -> int:
        """Whole blocks, at least one."""
        return max(1, round(self.tokens / self.block))

    def digest(self) -> str:
        """A name for exactly these choices."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
