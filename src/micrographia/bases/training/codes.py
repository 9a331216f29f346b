"""Sparse codes: which features are active at which rows of a batch, by row and by feature.

A dense step multiplies by zeros 99 times out of 100. Here only the encoder's forward product is dense; everything
after the selection, gradients included, touches active entries alone.
"""

import warnings
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["ByFeature", "Codes", "select_batch_topk", "select_topk", "threshold_for"]


@dataclass(frozen=True, slots=True)
class Codes:
    """Active entries in row order; `starts[r]` is where row r begins, with the total at the end."""

    row: Int[Tensor, " active"]
    feature: Int[Tensor, " active"]
    value: Float[Tensor, " active"]
    starts: Int[Tensor, " rows_and_end"]
    n_features: int

    @staticmethod
    def of(pre: Float[Tensor, "row feature"], mask: Bool[Tensor, "row feature"]) -> "Codes":
        """The masked entries of the pre-activations."""
        n_rows, n_features = pre.shape
        flat = _places(mask)
        row = flat // n_features
        starts = torch.searchsorted(row, torch.arange(n_rows + 1, device=row.device))
        return Codes(row, flat - row * n_features, pre.flatten()[flat], starts, n_features)

    def decode(self, decoder: Float[Tensor, "feature d"]) -> Float[Tensor, "row d"]:
        """Σ_f value · decoder[f], row by row."""
        return F.embedding_bag(
            self.feature, decoder, self.starts, per_sample_weights=self.value, mode="sum", include_last_offset=True
        )

    def value_gradient(
        self, grad: Float[Tensor, "row d"], decoder: Float[Tensor, "feature d"]
    ) -> Float[Tensor, " active"]:
        """grad[row] · decoder[feature] at the active entries."""
        shape = (len(self.starts) - 1, self.n_features)
        nothing = torch.zeros_like(self.value)
        with warnings.catch_warnings():  # torch calls its CSR tensors beta, once per process
            warnings.simplefilter("ignore", UserWarning)
            pattern = torch.sparse_csr_tensor(self.starts, self.feature, nothing, shape, check_invariants=False)
        sampled = cast("Tensor", torch.sparse.sampled_addmm(pattern, grad, decoder.T, beta=0.0))
        return sampled.values()

    def sums(self, weight: Float[Tensor, " active"]) -> Float[Tensor, " feature"]:
        """Σ over a feature's entries of a weight: the gradient of an encoder's bias."""
        return torch.bincount(self.feature, weights=weight, minlength=self.n_features).to(weight.dtype)

    def by_feature(self) -> "ByFeature":
        """The same entries in the order of features."""
        order = self.feature.argsort(stable=True)
        counts = torch.bincount(self.feature, minlength=self.n_features)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return ByFeature(self.row[order], order, starts, counts)


@dataclass(frozen=True, slots=True)
class ByFeature:
    """Active entries in feature order; `order` brings what belongs to an entry into this order."""

    row: Int[Tensor, " active"]
    order: Int[Tensor, " active"]
    starts: Int[Tensor, " features_and_end"]
    counts: Int[Tensor, " feature"]

    def gather(self, weight: Float[Tensor, " active"], rows: Float[Tensor, "row d"]) -> Float[Tensor, "feature d"]:
        """Σ over a feature's entries of weight · rows[row]: the gradient of a decoder or an encoder."""
        return F.embedding_bag(
            self.row, rows, self.starts, per_sample_weights=weight[self.order], mode="sum", include_last_offset=True
        )


def _places(mask: Bool[Tensor, "row feature"]) -> Int[Tensor, " active"]:
    """The flat indices of what is set; on a CPU numpy finds them several times faster than torch."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero()[:, 0]


def select_topk(pre: Float[Tensor, "row feature"], k: int) -> Bool[Tensor, "row feature"]:
    """The k largest entries of each row, as far as they are positive. Ties go to exactly k entries."""
    best = pre.topk(min(k, pre.shape[1]), dim=1)
    mask = torch.zeros_like(pre, dtype=torch.bool)
    return mask.scatter_(1, best.indices, best.values > 0)


def select_batch_topk(pre: Float[Tensor, "row feature"], threshold: float) -> Bool[Tensor, "row feature"]:
    """The entries above the batch's threshold, as far as they are positive."""
    return pre > max(threshold, 0.0)


def threshold_for(pre: Float[Tensor, "row feature"], k: int, *, rows: int = 64) -> float:
    """The value above which `k` entries per row lie on average, judged by evenly spaced rows."""
    step = max(1, len(pre) // rows)
    some = pre[::step].flatten()
    wanted = min(k * len(pre[::step]), len(some))
    return float(some.kthvalue(len(some) - wanted + 1).values)
