"""Writing on: one token at a time, each through the same hooks as a plain run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.errors import CallError
from micrographia.ids import TokenId
from micrographia.model.batch import Batch
from micrographia.model.forward import KeyValues
from micrographia.model.tokens import Prompt

__all__ = ["Generation", "Sampling", "Step", "continue_rows"]

Step: TypeAlias = Callable[[Batch, KeyValues | None], Float[Tensor, "batch d_vocab"]]
"""Logits after the last token of each row."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen: the likeliest at temperature 0, else drawn from the likeliest `top_p` share."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise CallError(
                f"Sampling needs temperature ≥ 0 and 0 < top_p ≤ 1; "
                f"these are temperature {self.temperature}, top_p {self.top_p}."
            )


@dataclass(frozen=True, slots=True)
class Generation:
    """A prompt and what the model wrote after it."""

    prompt: Prompt
    ids: tuple[TokenId, ...]
    text: str


def continue_rows(
    batch: Batch, step: Step, *, max_new: int, sampling: Sampling, stop: Sequence[TokenId], cached: bool
) -> list[list[TokenId]]:
    """Up to `max_new` tokens after each row, without the stop token that ends it."""
    if max_new < 1:
        raise CallError(f"max_new must be at least 1; it is {max_new}.")
    generator = torch.Generator(device="cpu").manual_seed(sampling.seed)
    past = KeyValues() if cached else None
    written: list[list[TokenId]] = [[] for _ in range(batch.n_rows)]
    open_rows = set(range(batch.n_rows))
    current = batch
    for _ in range(max_new):
        chosen = _choose(step(current, past), sampling, generator)
        for row in sorted(open_rows):
            token = TokenId(int(chosen[row]))
            if token in stop:
                open_rows.discard(row)
            else:
                written[row].append(token)
        if not open_rows:
            break
        after = current.followed_by(chosen)
        current = after if cached else current.joined(after)
    return written


def _choose(
    logits: Float[Tensor, "batch d_vocab"], sampling: Sampling, generator: torch.Generator
) -> Int[Tensor, " batch"]:
    if sampling.temperature == 0:
        return logits.argmax(-1)
    double = logits.double().cpu()
    below = (double - double.amax(-1, keepdim=True)) / sampling.temperature  # the likeliest stays 0 at any temperature
    ordered, order = below.softmax(-1).sort(descending=True)
    before = ordered.cumsum(-1) - ordered
    kept = ordered.masked_fill(before >= sampling.top_p, 0.0)
    drawn = torch.multinomial(kept, 1, generator=generator)
    return order.gather(1, drawn)[:, 0].to(logits.device)
