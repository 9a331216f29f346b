"""Which features fire on a text, where, and how specifically; and which ones promote a token.

How specific a firing is, is counted in bits, against the corpus, in two ways. `spread` is about the whole text: that a
feature is active at k of its n positions, though it is at a share d of the corpus's, is worth n·KL(k/n ‖ d) bits.
`peak` is about one place: that so strong an activation stands at a share t of the corpus's positions is worth −log₂ t
bits. A feature that fires everywhere is worth nothing, and so is one that fires here no more than elsewhere.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from micrographia.atlas.atlas import Atlas, LayerAtlas
from micrographia.atlas.build import watches_of
from micrographia.atlas.feature import Feature, share_weaker
from micrographia.atlas.fingerprint import feature_basis
from micrographia.atlas.sketch import Active
from micrographia.atlas.strength import strengths
from micrographia.atlas.watch import Span, Watch
from micrographia.bases.basis import Basis
from micrographia.errors import CallError
from micrographia.ids import Layer, Position, TokenId
from micrographia.model.hooks import Reader
from micrographia.model.model import Model, SiteName
from micrographia.model.site import Site
from micrographia.model.tokens import Prompt

__all__ = ["By", "Firing", "Promoting", "fires_on", "promotes"]

By: TypeAlias = Literal["peak", "spread"]


@dataclass(frozen=True, slots=True, eq=False)
class Firing:
    """A feature that is active in a text."""

    layer: Layer
    index: int
    positions: tuple[Position, ...]
    activations: tuple[float, ...]
    density: float
    """The share of the corpus's positions at which it is active."""
    weaker: float
    """The share of its activations in the corpus that are weaker than its strongest here."""
    spread: float
    """In bits, how much more often it fires here than in the corpus; negative, where it fires less often."""
    peak: float
    """In bits, how rare in the corpus an activation is that is as strong as its strongest here."""

    @property
    def strongest(self) -> tuple[Position, float]:
        """Where it is most active, and how much."""
        best = max(range(len(self.positions)), key=self.activations.__getitem__)
        return self.positions[best], self.activations[best]


@dataclass(frozen=True, slots=True)
class Promoting:
    """A feature that promotes a token."""

    layer: Layer
    index: int
    cosine: float
    rank: int
    """0 where no token is promoted more."""
    density: float


def fires_on(
    atlas: Atlas,
    model: Model,
    basis: Basis,
    prompt: str | Prompt,
    *,
    by: By = "peak",
    top: int = 20,
    layers: tuple[int, ...] = (),
) -> tuple[Firing, ...]:
    """The features that a text is most specific for, by one place in it or by all, in some layers or in all."""
    tokens = model.prompt(prompt)
    if len(tokens) < 2:
        raise CallError("The first position does not count, and this text has no other: give a longer one.")
    atlas.check(model, basis)
    wanted = [atlas.layer(layer) for layer in layers or atlas.layers]
    watches = watches_of([each.plan for each in wanted], feature_basis(basis), model)
    seen: dict[Layer, Active] = {}
    keep: dict[SiteName, Reader] = {
        watch.site: partial(_keep, seen, watch, atlas.manifest.plan.config.span) for watch in watches
    }
    model.run(tokens, readers=keep, logits="none")
    found = [one for each in wanted for one in _of_layer(each, seen[Layer(each.plan.layer)], len(tokens) - 1, by, top)]
    return tuple(sorted(found, key=lambda firing: (-_worth(firing, by), firing.layer, firing.index))[:top])


def promotes(atlas: Atlas, token: TokenId, *, top: int = 20) -> tuple[Promoting, ...]:
    """The features that promote a token most, by the cosine, among those that have it in their list."""
    found = sorted(atlas.promoting(token), key=lambda each: -each[2])[:top]
    return tuple(_promoting(atlas.feature(layer, index), token, cosine) for layer, index, cosine in found)


def _worth(firing: Firing, by: By) -> float:
    return firing.peak if by == "peak" else firing.spread


def _keep(seen: dict[Layer, Active], watch: Watch, span: Span, act: Tensor, site: Site, /) -> None:
    seen[watch.layer] = watch(act, span)


def _of_layer(its: LayerAtlas, active: Active, n: int, by: By, top: int) -> list[Firing]:
    """The firings of one layer that are worth most."""
    if not len(active.feature):
        return []
    order = np.argsort(active.feature, kind="stable")
    features, starts, times = np.unique(active.feature[order], return_index=True, return_counts=True)
    values = strengths(active.code, its.plan.exponent)[order]
    histogram = its.arrays["histogram"][features].astype(np.int64)
    count, most = histogram.sum(1), np.maximum.reduceat(values, starts)
    weaker = share_weaker(histogram, its.plan.exponent, most)
    density = (count + 0.5) / (its.n_positions + 1)
    spread = _surprise(times / n, density, n)
    peak = -np.log2(density * np.maximum(1 - weaker, 1 / (count + 1)))
    return [
        Firing(
            layer=Layer(its.plan.layer),
            index=int(features[i]),
            positions=tuple(Position(int(row) + 1) for row in active.row[order][starts[i] : starts[i] + times[i]]),
            activations=tuple(map(float, values[starts[i] : starts[i] + times[i]])),
            density=float(count[i]) / its.n_positions,
            weaker=float(weaker[i]),
            spread=float(spread[i]),
            peak=float(peak[i]),
        )
        for i in np.argsort(-(peak if by == "peak" else spread), kind="stable")[:top]
    ]


def _surprise(
    share: Float64[np.ndarray, " feature"], density: Float64[np.ndarray, " feature"], n: int
) -> Float64[np.ndarray, " feature"]:
    """n·KL(share ‖ density) in bits, with the sign of the difference."""
    off = np.maximum(1 - share, 1e-300)
    bits = share * np.log2(share / density) + (1 - share) * np.log2(off / (1 - density))
    return np.copysign(n * bits, share - density)


def _promoting(feature: Feature, token: TokenId, cosine: float) -> Promoting:
    rank = next(i for i, said in enumerate(feature.promoted) if said.token == token)
    return Promoting(feature.layer, feature.index, cosine, rank, feature.density)
