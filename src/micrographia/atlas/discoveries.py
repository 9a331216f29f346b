"""What is beyond chance among many: empirical p-values, and the bound on false discoveries."""

import numpy as np
from jaxtyping import Bool, Float64

__all__ = ["beyond", "passing"]


def beyond(found: Float64[np.ndarray, " one"], null: Float64[np.ndarray, " draw"]) -> Float64[np.ndarray, " one"]:
    """How often draws of a null reach as far as what was found: (reached + 1) / (draws + 1)."""
    reached = len(null) - np.searchsorted(np.sort(null), found, side="left")
    return (reached + 1) / (len(null) + 1)


def passing(p: Float64[np.ndarray, "*family"], rate: float) -> Bool[np.ndarray, "*family"]:
    """Which of several nulls fall, so that at most `rate` of those that do were true (Benjamini and Hochberg 1995)."""
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    below = np.flatnonzero(flat[order] <= rate * np.arange(1, len(flat) + 1) / max(len(flat), 1))
    fallen = np.zeros(len(flat), dtype=bool)
    fallen[order[: below[-1] + 1 if len(below) else 0]] = True
    return fallen.reshape(p.shape)
