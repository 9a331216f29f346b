"""How large float32 matrices are multiplied on a CPU: by whichever of two ways a trial on this machine finds faster.

What PyTorch calls the precision `medium` leads to oneDNN, which multiplies as exactly as the other way on many
processors, and up to twice as fast; on processors with matrix units for bfloat16 it really is less exact. So both are
tried once in a process, and oneDNN is taken only where it is much faster and its results are the same up to rounding.
It compiles a program for each new shape: so it is asked for large products only.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache, partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["ROUNDED", "linear", "multiply", "onednn_wins", "rounded"]

ROUNDED = 32
"""Rows of a large product are rounded up to a multiple of this, where that keeps shapes few."""
_LARGE = 1 << 21
"""Multiplications from which on a product is large."""
_SAME = 1e-5
"""Relative to the largest entry; rounding of sums in another order stays far below, bfloat16 far above."""
_GAIN = 0.8
_TRIALS = 5


def linear(
    x: Float[Tensor, "... inner"], weight: Float[Tensor, "column inner"], bias: Float[Tensor, " column"] | None = None
) -> Float[Tensor, "... column"]:
    """x Wᵀ + b."""
    if not _pays(x.numel() // max(1, x.shape[-1]), weight):
        return F.linear(x, weight, bias)
    with _onednn():
        return F.linear(x, weight, bias)


def multiply(
    left: Float[Tensor, "row inner"], right: Float[Tensor, "inner column"], out: Tensor, *, add: bool = False
) -> None:
    """left @ right, or that added to what is there; behind the rows of `left` and `out` their buffers may be longer."""
    if not _pays(len(left), right):
        torch.addmm(out, left, right, beta=int(add), out=out)
        return
    more = rounded(len(left))
    if _has_room(left, more) and _has_room(out, more):
        left, out = (part.as_strided((more, part.shape[1]), (part.shape[1], 1)) for part in (left, out))
    with _onednn():
        torch.addmm(out, left, right, beta=int(add), out=out)


def rounded(rows: int) -> int:
    """As many rows or a few more, so that there are few shapes."""
    return -(-rows // ROUNDED) * ROUNDED


def _has_room(part: Float[Tensor, "row column"], rows: int) -> bool:
    """Whether its memory goes on for so many rows; those behind may hold anything."""
    there = part.untyped_storage().nbytes() // part.element_size() - part.storage_offset()
    return part.is_contiguous() and rows * part.shape[1] <= there


def _pays(rows: int, matrix: Float[Tensor, "one other"]) -> bool:
    """Whether oneDNN should multiply so many rows by a matrix. Who has chosen a precision for the process keeps it."""
    if matrix.dtype != torch.float32 or matrix.device.type != "cpu" or rows * matrix.numel() < _LARGE or rows < 2:
        return False
    return _unchosen() and onednn_wins(_product(), torch.get_num_threads())


def _unchosen() -> bool:
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # what PyTorch says where a back end has a precision of its own
        return False


@contextmanager
def _onednn() -> Generator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@cache
def _product() -> Callable[[], Tensor]:
    """One as they usually are."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(n, 512, generator=generator) for n in (256, 512))
    return partial(F.linear, left, right)


@cache
def onednn_wins(trial: Callable[[], Tensor], n_threads: int) -> bool:
    """Whether it is much faster and as exact, for so many threads as there are now."""
    del n_threads
    plain, exact = _timed(trial)
    with _onednn():
        fast, found = _timed(trial)
    for _ in range(_TRIALS):
        plain = min(plain, _timed(trial)[0])
        with _onednn():
            fast = min(fast, _timed(trial)[0])
    off = float((found - exact).abs().max() / exact.abs().max())
    return off < _SAME and fast < _GAIN * plain


def _timed(trial: Callable[[], Tensor]) -> tuple[float, Tensor]:
    start = time.perf_counter()
    found = trial()
    return time.perf_counter() - start, found
