"""How strong an activation is, as a 16-bit number: a half float over a power of two that its whole layer shares.

The bits of positive half floats are in the order of their values, so that codes are compared, binned and added without
being turned back. A code of a code, its upper eight bits, keeps eight steps an octave.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64, UInt8, UInt16
from torch import Tensor

__all__ = [
    "AMOUNT_UNIT",
    "N_BINS",
    "SQUARE_UNIT",
    "amounts",
    "bin_edges",
    "bins",
    "codes",
    "exponent_for",
    "narrowed",
    "squares",
    "strengths",
    "widened",
]

N_BINS = 48
"""Bins of a histogram, four an octave, from 2⁻⁸ to 2⁴ times the layer's unit; the outer two take what lies beyond."""
AMOUNT_UNIT = 2.0**-24
SQUARE_UNIT = 2.0**-20

_FIRST = (15 - 8) << 2
_LARGEST = 65504.0
_SMALLEST = 2.0**-24
_VALUES = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
_AMOUNTS = np.rint(_VALUES / AMOUNT_UNIT).astype(np.int64)
_SQUARES = np.minimum(np.rint(_VALUES**2 / SQUARE_UNIT), 2.0**41).astype(np.int64)


def exponent_for(values: Float[Tensor, " active"]) -> int:
    """The power of two next above the median strength of a layer: its unit."""
    some = values.abs().float()
    some = some[some > 0]
    return int(np.ceil(np.log2(float(some.median())))) if len(some) else 0


def codes(values: Float[Tensor, "*shape"], exponent: int) -> UInt16[np.ndarray, "*shape"]:
    """Magnitudes of activations that are not zero."""
    scaled = values.abs().to(torch.float32) * 2.0**-exponent
    return scaled.clamp(_SMALLEST, _LARGEST).half().view(torch.int16).cpu().numpy().view(np.uint16)


def strengths(code: UInt16[np.ndarray, "*shape"], exponent: int) -> Float64[np.ndarray, "*shape"]:
    """What codes stand for."""
    return code.view(np.float16).astype(np.float64) * 2.0**exponent


def amounts(code: UInt16[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """Codes as whole numbers of `AMOUNT_UNIT`, exactly: their sum does not depend on the order."""
    return _AMOUNTS[code]


def squares(code: UInt16[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """The squares of codes as whole numbers of `SQUARE_UNIT`, rounded one by one, and cut at two million units²."""
    return _SQUARES[code]


def bins(code: UInt16[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """The bin of a histogram that each code falls into."""
    return np.clip((code >> np.uint16(8)).astype(np.int64) - _FIRST, 0, N_BINS - 1)


def bin_edges(exponent: int) -> Float64[np.ndarray, " edge"]:
    """The strengths at which bins begin, and where the last one ends."""
    edges = ((np.arange(N_BINS + 1) + _FIRST) << 8).astype(np.uint16)
    return strengths(edges, exponent)


def narrowed(code: UInt16[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Eight bits of a code, never zero."""
    return np.maximum(code >> np.uint16(7), np.uint16(1)).astype(np.uint8)


def widened(narrow: UInt8[np.ndarray, "*shape"], exponent: int) -> Float64[np.ndarray, "*shape"]:
    """The middle of what eight bits may stand for; zero is not active."""
    code: Int[np.ndarray, "*shape"] = (narrow.astype(np.uint16) << np.uint16(7)) | np.uint16(0x40)
    return np.where(narrow == 0, 0.0, strengths(code.astype(np.uint16), exponent))
