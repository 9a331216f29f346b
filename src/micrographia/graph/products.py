"""Which way large float32 matrices are multiplied on a CPU: found by a trial, because it depends on the machine.

PyTorch has two ways. What it calls the precision `medium` leads to oneDNN, which multiplies as exactly as the other on
many processors, and up to twice as fast; on processors with matrix units for bfloat16 it really is less exact. So both
are tried once, and the other way is taken only where it is much faster and its results are the same up to rounding.
It compiles a program for each new shape: so it is asked for large products only, whose rows are rounded up.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["ROUNDED", "fast_products", "multiply"]

_Way: TypeAlias = Literal["highest", "medium"]

ROUNDED = 64
"""Rows of a large product are rounded up to a multiple of this, where that keeps shapes few."""
_SAME = 1e-5
"""Relative to the largest entry; rounding of sums in another order stays far below, bfloat16 far above."""
_GAIN = 0.8
_TRIALS = 4

_ways: dict[str, _Way] = {}
_now: ContextVar[_Way] = ContextVar("_now", default="highest")


@contextmanager
def fast_products(trial: Callable[[], Tensor], key: str) -> Generator[_Way]:
    """Let `multiply` take the faster way inside the block; `trial` multiplies typically, and `key` names its kind.

    Who has chosen a precision for the whole process keeps it.
    """
    if torch.get_float32_matmul_precision() != "highest":
        yield "highest"
        return
    if key not in _ways:
        _ways[key] = _better(trial)
    before = _now.set(_ways[key])
    try:
        yield _ways[key]
    finally:
        _now.reset(before)


def multiply(
    left: Float[Tensor, "row inner"], right: Float[Tensor, "inner column"], out: Tensor, *, add: bool = False
) -> None:
    """left @ right, or that added to what is there; behind the rows of `left` and `out` their buffers may be longer."""
    if _now.get() == "highest":
        torch.addmm(out, left, right, beta=int(add), out=out)
        return
    more = -(-len(left) // ROUNDED) * ROUNDED
    if _has_room(left, more) and _has_room(out, more):
        left, out = (part.as_strided((more, part.shape[1]), (part.shape[1], 1)) for part in (left, out))
    torch.set_float32_matmul_precision("medium")
    try:
        torch.addmm(out, left, right, beta=int(add), out=out)
    finally:
        torch.set_float32_matmul_precision("highest")


def _has_room(part: Float[Tensor, "row column"], rows: int) -> bool:
    """Whether its memory goes on for so many rows; those behind may hold anything."""
    there = part.untyped_storage().nbytes() // part.element_size() - part.storage_offset()
    return part.is_contiguous() and rows * part.shape[1] <= there


def _better(trial: Callable[[], Tensor]) -> _Way:
    """The way that wins the trial."""
    seconds: dict[_Way, float] = {"highest": float("inf"), "medium": float("inf")}
    found: dict[_Way, Tensor] = {}
    for _ in range(_TRIALS):
        for way in seconds:
            before = _now.set(way)
            try:
                start = time.perf_counter()
                found[way] = trial()
                seconds[way] = min(seconds[way], time.perf_counter() - start)
            finally:
                _now.reset(before)
    off = float((found["medium"] - found["highest"]).abs().max() / found["highest"].abs().max())
    return "medium" if off < _SAME and seconds["medium"] < _GAIN * seconds["highest"] else "highest"
