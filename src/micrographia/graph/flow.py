"""Influence as a flow: it starts at the targets, and every row passes what it gets on to its sources, by their shares.

Rows are features from the lowest layer upwards, then targets; the first columns are the same features. A feature's
inputs stand before it, so its share matrix is strictly triangular, and all paths are summed by one triangular sweep.
"""

from collections.abc import Iterator
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.errors import CallError

__all__ = ["curve", "influence", "lowest", "normalised", "passed_up"]

_Numbers: TypeAlias = npt.NDArray[np.floating]

_SMALLEST_SUM = 1e-10
_LOW_BITS = 16
_AT_ONCE = 1 << 17
_BLOCK = 128
"""Rows that are solved for at once; a block of them stays in the cache."""


def normalised(magnitudes: Float[Tensor, "row source"]) -> Float[Tensor, "row source"]:
    """Each row divided by its sum, in place; a row of nothing stays nothing."""
    return magnitudes.div_(magnitudes.sum(1, keepdim=True).clamp_(min=_SMALLEST_SUM))


def influence(shares: Float[Tensor, "row source"], weights: Float[Tensor, " target"]) -> Float[Tensor, " source"]:
    """w (Â + Â² + …): rows are gone through once, from the targets down; each block hands on what has reached it."""
    n = len(shares) - len(weights)
    reached = weights.to(shares.dtype) @ shares[n:]
    for stop in range(n, 0, -_BLOCK):
        block = slice(max(stop - _BLOCK, 0), stop)
        through = _solved(shares[block, block].T, reached[block], upper=True)
        reached.addmv_(shares[block].T, through)
    return reached


def passed_up(
    shares: Float[Tensor, "row source"], ends: Float[Tensor, " row"], n_features: int
) -> Float[Tensor, " row"]:
    """(1 + Â + Â² + …) ends: what each row gets, if row i gets `ends[i]` by itself and the rest through features."""
    got = ends.clone()
    for start in range(0, n_features, _BLOCK):
        block = slice(start, min(start + _BLOCK, n_features))
        got[block] = _solved(shares[block, block], got[block] + shares[block, :start] @ got[:start], upper=False)
    got[n_features:] += shares[n_features:, :n_features] @ got[:n_features]
    return got


def lowest(scores: Float[Tensor, "..."], share: float) -> float:
    """The lowest score that is needed for the highest ones to reach a share of the sum of all.

    Found without sorting them all: the upper bits of a positive float order it, so the mass in each of their bins
    leads to one bin, and only that is sorted.
    """
    if not 0 <= share <= 1:
        raise CallError(f"A share lies between 0 and 1, and this is {share}.")
    values = scores.detach().flatten().cpu().numpy()
    masses = np.zeros(1 << _LOW_BITS)
    for part in _positive_parts(values):
        found = np.bincount(_bins(part), weights=part)
        masses[: len(found)] += found
    masses = np.trim_zeros(masses, "b")
    if not len(masses):
        return float("inf")
    above = np.cumsum(masses[::-1])[::-1]
    wanted = share * float(above[0])
    fullest = int(np.flatnonzero(above >= wanted)[-1])
    inside = np.concatenate([part[_bins(part) == fullest] for part in _positive_parts(values)])
    inside = np.sort(inside)[::-1]
    reached = np.cumsum(inside, dtype=np.float64) + (above[fullest] - masses[fullest])
    return float(inside[min(int(np.searchsorted(reached, wanted)), len(inside) - 1)])


def _positive_parts(values: _Numbers) -> Iterator[_Numbers]:
    """What is positive, a stretch at a time, so that what is made of it stays in the cache."""
    for start in range(0, len(values), _AT_ONCE):
        part = values[start : start + _AT_ONCE]
        yield part[part > 0]


def _bins(values: _Numbers) -> npt.NDArray[np.uint32]:
    return values.astype(np.float32, copy=False).view(np.uint32) >> np.uint32(_LOW_BITS)


def curve(influences: Float[Tensor, " source"]) -> Float[Tensor, " source"]:
    """Each source's place on the cumulative curve: the share of influence held by it and all that have more."""
    order = influences.argsort(descending=True, stable=True)
    places = torch.empty_like(influences, dtype=torch.float64)
    summed = influences[order].cumsum(0, dtype=torch.float64)
    places[order] = summed / max(float(summed[-1]), torch.finfo(torch.float64).tiny)
    return places


def _solved(matrix: Tensor, right: Tensor, *, upper: bool) -> Tensor:
    """x with x − matrix x = right, for a strictly triangular matrix."""
    return cast("Tensor", torch.linalg.solve_triangular(matrix.neg(), right[:, None], upper=upper, unitriangular=True))[
        :, 0
    ]
