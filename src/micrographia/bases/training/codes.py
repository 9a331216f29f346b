"""Sparse codes: which features are active at which rows of a batch, by row and by feature.

A dense step multiplies by zeros 99 times out of 100. Here only the encoder's forward product is dense; everything
after the selection, gradients included, touches active entries alone. Indices are 32 bits wide, which halves what has
to be read beside the numbers themselves.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["ByFeature", "Codes", "places_above", "places_of", "places_topk", "threshold_for"]


@dataclass(frozen=True, slots=True)
class Codes:
    """Active entries in row order; `starts[r]` is where row r begins, with the total at the end."""

    row: Int[Tensor, " active"]
    feature: Int[Tensor, " active"]
    value: Float[Tensor, " active"]
    starts: Int[Tensor, " rows_and_end"]
    n_features: int

    @staticmethod
    def of(pre: Float[Tensor, "row feature"], places: Int[Tensor, " active"], dtype: torch.dtype) -> "Codes":
        """The entries of the pre-activations at flat places, which are in order."""
        n_rows, n_features = pre.shape
        row = places // n_features
        starts = torch.searchsorted(row, torch.arange(n_rows + 1, device=row.device))
        feature = places - row * n_features
        return Codes(row.int(), feature.int(), pre.flatten()[places].to(dtype), starts.int(), n_features)

    def decode(self, decoder: Float[Tensor, "feature d"]) -> Float[Tensor, "row d"]:
        """Σ_f value · decoder[f], row by row."""
        return _bags(self.feature, decoder, self.starts, self.value)

    def value_gradient(
        self, grads: list[Float[Tensor, "row d"]], decoders: list[Float[Tensor, "feature d"]]
    ) -> Float[Tensor, " active"]:
        """Σ_to grads[to, row] · decoders[to, feature] at the active entries."""
        shape = (len(self.starts) - 1, self.n_features)
        with warnings.catch_warnings():  # torch calls its CSR tensors beta, once per process
            warnings.simplefilter("ignore", UserWarning)
            sampled = torch.sparse_csr_tensor(
                self.starts, self.feature, torch.zeros_like(self.value), shape, check_invariants=False
            )
        for grad, decoder in zip(grads, decoders, strict=True):
            sampled = cast("Tensor", torch.sparse.sampled_addmm(sampled, grad, decoder.T))
        return sampled.values()

    def sums(self, weight: Float[Tensor, " active"]) -> Float[Tensor, " feature"]:
        """Σ over a feature's entries of a weight: the gradient of an encoder's bias."""
        return torch.bincount(self.feature, weights=weight, minlength=self.n_features).to(weight.dtype)

    def counts(self) -> Int[Tensor, " feature"]:
        """How often each feature is active."""
        return torch.bincount(self.feature, minlength=self.n_features)

    def by_feature(self) -> "ByFeature":
        """The same entries in the order of features."""
        order = _order_of(self.feature.short() if self.n_features <= 1 << 15 else self.feature)
        counts = self.counts()
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
        return ByFeature(self.row[order], order, starts)


@dataclass(frozen=True, slots=True)
class ByFeature:
    """Active entries in the order of features; `order` brings what belongs to an entry into it."""

    row: Int[Tensor, " active"]
    order: Int[Tensor, " active"]
    starts: Int[Tensor, " features_and_end"]

    def gather(
        self, weight: Float[Tensor, " active"], *tables: Float[Tensor, "row d"]
    ) -> Iterator[Float[Tensor, "feature d"]]:
        """Σ over a feature's entries of weight · table[row], table by table: gradients of weights."""
        ordered = weight[self.order]
        for table in tables:
            yield _bags(self.row, table, self.starts, ordered)


def _bags(index: Tensor, table: Tensor, starts: Tensor, weight: Tensor) -> Tensor:
    return F.embedding_bag(index, table, starts, per_sample_weights=weight, mode="sum", include_last_offset=True)


def _order_of(number: Int[Tensor, " active"]) -> Int[Tensor, " active"]:
    """The stable order; on a CPU numpy sorts short numbers by their digits, twenty times faster than torch."""
    if number.device.type == "cpu":
        return torch.from_numpy(np.argsort(number.numpy(), kind="stable"))
    return number.argsort(stable=True)


def places_of(mask: Bool[Tensor, "row feature"]) -> Int[Tensor, " active"]:
    """The flat indices of what is set; on a CPU numpy finds them several times faster than torch."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero()[:, 0]


def places_above(pre: Float[Tensor, "row feature"], threshold: float) -> Int[Tensor, " active"]:
    """The flat indices of what is above a threshold, as far as it is positive.

    Positive bfloat16 numbers are in the order of their bits, and 16-bit integers are compared ten times faster.
    """
    least = max(threshold, 0.0)
    if pre.dtype == torch.bfloat16 and pre.device.type == "cpu":
        bound = int(torch.tensor(least, dtype=torch.bfloat16).view(torch.int16))
        return torch.from_numpy(np.flatnonzero(pre.view(torch.int16).numpy() > bound))
    return places_of(pre > least)


def places_topk(pre: Float[Tensor, "row feature"], k: int) -> Int[Tensor, " active"]:
    """The flat indices of each row's k largest entries, as far as they are positive; ties go to exactly k entries."""
    best = pre.topk(min(k, pre.shape[1]), dim=1)
    mask = torch.zeros_like(pre, dtype=torch.bool)
    return places_of(mask.scatter_(1, best.indices, best.values > 0))


def threshold_for(pre: Float[Tensor, "row feature"], k: int, *, rows: int = 64) -> float:
    """The value above which `k` entries per row lie on average, judged by evenly spaced rows."""
    step = max(1, len(pre) // rows)
    some = pre[::step].flatten().to(torch.promote_types(pre.dtype, torch.float32))
    wanted = min(k * len(pre[::step]), len(some))
    if some.device.type == "cpu":  # forty times faster than torch
        return float(np.partition(some.numpy(), len(some) - wanted)[len(some) - wanted])
    return float(some.kthvalue(len(some) - wanted + 1).values)
