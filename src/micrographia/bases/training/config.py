"""What a training is asked to do: one record, from TOML or from flags."""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from micrographia.errors import CallError
from micrographia.store import complaints

__all__ = ["Architecture", "Precision", "TrainConfig", "config_of", "load_config", "to_toml"]

Architecture: TypeAlias = Literal["per-layer", "cross-layer"]
Precision: TypeAlias = Literal["fp32", "bf16"]


class TrainConfig(BaseModel):
    """Every choice that a training's result depends on; two trainings with equal configs end alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Architecture = "per-layer"
    """Whether a feature writes to its own layer, or to that and all later ones."""
    features: int = Field(default=2048, ge=1)
    """Features per layer."""
    k: int = Field(default=32, ge=1)
    """Active features per position and layer: exactly (topk) or on average (batchtopk)."""
    selection: Literal["topk", "batchtopk"] = "batchtopk"
    skip: bool = False
    """An affine path from input to output beside the features; per-layer only."""
    layers: tuple[int, ...] | None = None
    """The layers to train; None is all of them."""
    tokens: int = Field(default=2_000_000, ge=1)
    """Positions to read, the dropped first ones not counted."""
    passes: int = Field(default=2, ge=1)
    """How often each block is trained on, in another order each time."""
    window: int = Field(default=256, ge=2)
    """Tokens per window of the corpus."""
    drop_first: int = Field(default=1, ge=0)
    """Positions at a window's start that are left out: position 0 carries a massive activation."""
    block: int = Field(default=32_768, ge=1)
    """Positions that are read at once and shuffled together."""
    batch: int = Field(default=1_024, ge=1)
    """Positions per step."""
    learning_rate: float | None = Field(default=None, gt=0)
    """None is 2.6e-3 · √(16384 / features)."""
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    """The share of the steps over which the rate rises; after that it falls linearly to zero."""
    dead_after: int = Field(default=200_000, ge=1)
    """A feature that was never active in so many positions is planted anew."""
    precision: Precision = "fp32"
    """How wide activations are kept and the dense products computed; the weights themselves stay float32."""
    start: str | None = None
    """Names the weights that the training begins with; None is weights made from the first block."""
    seed: int = 0

    def peak_rate(self) -> float:
        return self.learning_rate or 2.6e-3 * (16_384 / self.features) ** 0.5

    def rate_at(self, step: int) -> float:
        """The learning rate of a step: up over the warm-up, then down in a line to zero."""
        total = self.n_steps()
        warm = max(1, int(self.warm_up * total))
        if step < warm:
            return self.peak_rate() * (step + 1) / warm
        return self.peak_rate() * max(0.0, (total - step) / max(1, total - warm))

    def n_blocks(self) -> int:
        """Whole blocks, at least one."""
        return max(1, round(self.tokens / self.block))

    def n_steps(self) -> int:
        return self.n_blocks() * self.passes * -(-self.block // self.batch)

    def kept_as(self) -> torch.dtype:
        """The type in which activations are kept."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def digest(self) -> str:
        """A name for exactly these choices."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def config_of(choices: Mapping[str, object], whose: str) -> TrainConfig:
    """The record of some choices, or one sentence about what is wrong with them."""
    try:
        config = TrainConfig.model_validate(choices)
    except ValidationError as error:
        known = ", ".join(TrainConfig.model_fields)
        raise CallError(f"{whose} cannot be trained by ({complaints(error)}). The choices are {known}.") from error
    if config.architecture == "cross-layer" and config.skip:
        raise CallError(f"{whose} asks for skip paths in a cross-layer transcoder, which has none: say skip = false.")
    if config.k > config.features:
        raise CallError(f"{whose} asks for {config.k} active features of {config.features}: k must be smaller.")
    return config


def load_config(path: Path) -> dict[str, object]:
    """The choices that a TOML file makes."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CallError(f"There is no file {str(path)!r}.") from None
    except (OSError, ValueError) as error:
        raise CallError(f"{str(path)!r} cannot be read as TOML: {error}.") from error


def to_toml(config: TrainConfig) -> str:
    """The record as the TOML that gives it again; what is None is left out."""
    lines = ["# micrographia train --config THIS --corpus CORPUS --out DIR"]
    for key, value in config.model_dump(mode="json", exclude_none=True).items():
        lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case _:
            return str(value)
