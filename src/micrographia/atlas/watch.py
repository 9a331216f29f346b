"""Which features are active where: a layer's encoder, or its neurons, looking at one block of text.

Of an encoder's output only what is active is touched. Every neuron is active everywhere; here one counts where its
activation, times the length of what it writes, is among the largest of its layer: see `NEURON_SHARE`.
"""

from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from micrographia.atlas.sketch import Active
from micrographia.atlas.strength import codes, narrowed
from micrographia.bases.activation import BatchTopK, JumpRelu, TopK
from micrographia.bases.training.codes import places_of
from micrographia.bases.transcoder import Encoder
from micrographia.errors import WorkError
from micrographia.ids import Layer
from micrographia.model.products import linear
from micrographia.model.site import Point, Site

__all__ = ["NEURON_SHARE", "EncoderWatch", "NeuronWatch", "Span", "Watch", "neuron_bound"]

NEURON_SHARE = 1 / 16
"""The share of a layer's neurons that counts as active, on average over positions."""


@dataclass(frozen=True, slots=True)
class Span:
    """How many tokens before and behind an active one are looked at too."""

    before: int
    after: int

    def __len__(self) -> int:
        return self.before + 1 + self.after


@final
@dataclass(frozen=True, slots=True, eq=False)
class EncoderWatch:
    """The features of a transcoder's layer."""

    layer: Layer
    encoder: Encoder
    exponent: int

    @property
    def site(self) -> Site:
        return Site(Point.MLP_IN, self.layer)

    @property
    def n_features(self) -> int:
        return self.encoder.n_features

    def __call__(self, act: Float[Tensor, "window pos d_model"], span: Span, /) -> Active:
        _check_finite(act, self.site)
        dense, least = self.dense(act)
        return _active(dense, least, act.shape[1] - 1, self.exponent, span, self.site)

    def dense(self, act: Float[Tensor, "window pos d_model"]) -> tuple[Tensor, Tensor]:
        """Numbers for all features at all positions that count, and what they exceed where one is active."""
        e, x = self.encoder, act[:, 1:].flatten(0, 1)
        match e.rule:
            case TopK():
                return e(x), torch.zeros_like(e.bias)
            case JumpRelu(threshold):
                least = threshold.to(x.dtype).clamp(min=0)
            case BatchTopK(_, threshold):
                least = torch.full_like(e.bias, max(threshold, 0.0))
            case _:
                least = torch.zeros_like(e.bias)
        return linear(x, e.weight, e.bias), least


@final
@dataclass(frozen=True, slots=True, eq=False)
class NeuronWatch:
    """The neurons of a layer; one is active where |activation| · ‖what it writes‖ exceeds the bound."""

    layer: Layer
    write_norms: Float[Tensor, " neuron"]
    bound: float
    exponent: int

    @property
    def site(self) -> Site:
        return Site(Point.POST, self.layer)

    @property
    def n_features(self) -> int:
        return len(self.write_norms)

    def __call__(self, act: Float[Tensor, "window pos neuron"], span: Span, /) -> Active:
        norms = self.write_norms.to(torch.promote_types(act.dtype, torch.float32)).clamp(min=1e-30)
        least = (self.bound / norms).clamp(max=torch.finfo(act.dtype).max)
        _check_finite(act, self.site)
        dense = act[:, 1:].flatten(0, 1)
        return _active(dense, least.to(act.dtype), act.shape[1] - 1, self.exponent, span, self.site, signed=True)


Watch: TypeAlias = EncoderWatch | NeuronWatch


def neuron_bound(post: Float[Tensor, "row neuron"], write_norms: Float[Tensor, " neuron"]) -> float:
    """The bound that `NEURON_SHARE` of all activations exceed."""
    written = (post.abs() * write_norms).float().flatten()
    return float(written.kthvalue(max(1, round(len(written) * (1 - NEURON_SHARE)))).values)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Around:
    """The strengths around some entries, looked up among the numbers of all features."""

    dense: Float[Tensor, "row feature"]
    least: Float[Tensor, " feature"]
    per_window: int
    exponent: int
    span: Span
    signed: bool

    def __call__(
        self, row: Int64[np.ndarray, " some"], feature: Int64[np.ndarray, " some"], /
    ) -> UInt8[np.ndarray, "some span"]:
        offset = np.arange(-self.span.before, self.span.after + 1)
        at = row[:, None] + offset
        inside = (at >= 0) & (at < len(self.dense)) & (at // self.per_window == (row // self.per_window)[:, None])
        places = np.where(inside, at, 0) * self.dense.shape[1] + feature[:, None]
        values = self.dense.flatten()[torch.from_numpy(places).to(self.dense.device)]
        bound = self.least[torch.from_numpy(feature).to(self.least.device)][:, None]
        on = ((values.abs() if self.signed else values) > bound).cpu().numpy() & inside
        return np.where(on, narrowed(codes(values, self.exponent)), np.uint8(0))


def _active(
    dense: Float[Tensor, "row feature"],
    least: Float[Tensor, " feature"],
    per_window: int,
    exponent: int,
    span: Span,
    site: Site,
    *,
    signed: bool = False,
) -> Active:
    n_features = dense.shape[1]
    places = _places(dense.abs() if signed else dense, least)
    values = dense.flatten()[torch.from_numpy(places).to(dense.device)]
    _check_finite(values, site)
    row = places // n_features
    return Active(
        row=row,
        feature=places - row * n_features,
        code=codes(values, exponent),
        near=_Around(dense, least, per_window, exponent, span, signed),
        negative=(values < 0).cpu().numpy() if signed else None,
    )


def _check_finite(values: Float[Tensor, "*shape"], site: Site) -> None:
    """A sum is as good as a look at each number, and takes one pass."""
    if not values.sum(dtype=torch.promote_types(values.dtype, torch.float32)).isfinite():
        raise WorkError(f"What is computed at {site} is no number. Open the model in float32: --dtype float32.")


def _places(dense: Float[Tensor, "row feature"], least: Float[Tensor, " feature"]) -> Int64[np.ndarray, " entry"]:
    """Where numbers exceed what they must, which is not negative, as flat indices in order.

    bfloat16 numbers of one sign are in the order of their bits, and 16-bit integers are compared ten times faster.
    """
    if dense.dtype == torch.bfloat16 and dense.device.type == "cpu":
        return np.flatnonzero(dense.view(torch.int16).numpy() > least.to(torch.bfloat16).view(torch.int16).numpy())
    return places_of(dense > least).cpu().numpy()
