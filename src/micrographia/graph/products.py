"""Which way float32 matrices are multiplied on a CPU: found by a trial, because it depends on the machine.

PyTorch has two ways. What it calls the precision `medium` leads to oneDNN, which multiplies as exactly as the other on
many processors, and up to twice as fast; on processors with matrix units for bfloat16 it really is less exact. So both
are tried once, and the other way is taken only where it is faster and its results are the same up to rounding.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch
from torch import Tensor

__all__ = ["fast_products"]

_Way: TypeAlias = Literal["highest", "medium"]

_SAME = 1e-5
"""Relative to the largest entry; rounding of sums in another order stays far below, bfloat16 far above."""
_GAIN = 0.95
_TRIALS = 4

_ways: dict[str, _Way] = {}


@contextmanager
def fast_products(trial: Callable[[], Tensor], key: str) -> Generator[_Way]:
    """Multiply in the faster way inside the block; `trial` is a typical product, and `key` names its kind.

    Who has chosen a precision for the whole process keeps it.
    """
    before = torch.get_float32_matmul_precision()
    if before != "highest":
        yield "highest"
        return
    if key not in _ways:
        _ways[key] = _better(trial)
    torch.set_float32_matmul_precision(_ways[key])
    try:
        yield _ways[key]
    finally:
        torch.set_float32_matmul_precision(before)


def _better(trial: Callable[[], Tensor]) -> _Way:
    """The way that wins the trial; it leaves the precision at `highest`."""
    seconds: dict[_Way, float] = {"highest": float("inf"), "medium": float("inf")}
    found: dict[_Way, Tensor] = {}
    try:
        for _ in range(_TRIALS):
            for way in seconds:
                torch.set_float32_matmul_precision(way)
                start = time.perf_counter()
                found[way] = trial()
                seconds[way] = min(seconds[way], time.perf_counter() - start)
    finally:
        torch.set_float32_matmul_precision("highest")
    off = float((found["medium"] - found["highest"]).abs().max() / found["highest"].abs().max())
    return "medium" if off < _SAME and seconds["medium"] < _GAIN * seconds["highest"] else "highest"
