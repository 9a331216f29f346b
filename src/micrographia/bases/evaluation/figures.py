"""From sums over documents to the figures of a card."""

from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.evaluation.bootstrap import Bootstrap, Estimate
from micrographia.bases.evaluation.card import Difference, LayerFigures, Row
from micrographia.bases.evaluation.jacobian import Cosines
from micrographia.bases.evaluation.reconstruction import Reconstruction, median
from micrographia.bases.evaluation.splice import Splice
from micrographia.bases.evaluation.subject import Subject

__all__ = ["Draws", "Measured", "difference_between", "row_of"]

_DENSE = 0.1

_Maybe: TypeAlias = Estimate | None
_Sums: TypeAlias = Tensor
"""Sums over documents, or their totals: whatever axes stand in front."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Documents drawn anew, for each part of the card."""

    reconstruction: Bootstrap
    one_layer: Bootstrap
    all_layers: Bootstrap
    prompts: Bootstrap
    slopes: Bootstrap


@final
@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """All sums of one subject."""

    subject: Subject
    reconstruction: Reconstruction
    one_layer: Splice
    all_layers: Splice
    right: Float[Tensor, " document"]
    asked: Float[Tensor, " document"]
    cosines: Cosines | None

    @property
    def has_features(self) -> bool:
        return bool(self.subject.features)


def row_of(its: Measured, zero: Measured, mean: Measured, draws: Draws) -> Row:
    """The row of one subject; `zero` and `mean` are the ablations that its losses are compared with."""
    fit, alone, together = its.reconstruction, its.one_layer, its.all_layers
    kept, n = _fired(its), float(fit.positions.sum())
    total, slopes = len(kept), its.cosines
    same = fit.layers == zero.reconstruction.layers
    return Row(
        name=its.subject.name,
        role=its.subject.role,
        what=its.subject.what,
        n_features=sum(its.subject.features.values()),
        fvu=draws.reconstruction.estimate(_mean_ratio, fit.error, fit.spread),
        fvu_pooled=draws.reconstruction.estimate(_pooled, fit.error, fit.spread),
        fvu_median=draws.reconstruction.estimate(_mean_median, fit.ratios),
        l0=draws.reconstruction.estimate(_sum_per, fit.active, fit.positions) if its.has_features else None,
        dead=float((kept == 0).sum()) / total if total else None,
        dense=float((kept > _DENSE * n).sum()) / total if total else None,
        one_layer_loss=draws.one_layer.estimate(_mean_added, alone.loss, alone.clean_loss, alone.positions),
        one_layer_kl=draws.one_layer.estimate(_mean_per, alone.kl, alone.positions),
        loss_added=_added(together, draws.all_layers)[0],
        recovered_zero=_recovered(together, zero.all_layers, draws.all_layers)[0] if same else None,
        recovered_mean=_recovered(together, mean.all_layers, draws.all_layers)[0] if same else None,
        kl=_per_position(together.kl, together, draws.all_layers)[0],
        top1=_per_position(together.agreed, together, draws.all_layers)[0],
        replacement=draws.prompts.estimate(_ratio, its.right, its.asked),
        cosine_random=slopes and draws.slopes.estimate(_mean_per, slopes.random, slopes.positions),
        cosine_real=slopes and draws.slopes.estimate(_mean_per, slopes.real, slopes.positions),
        layers=_layers(its, zero if same else None, mean if same else None, draws),
    )


def difference_between(its: Measured, other: Measured, draws: Draws) -> Difference | None:
    """The basis minus another row; None where they do not write to the same layers."""
    if its.reconstruction.layers != other.reconstruction.layers:
        return None
    one, two = its.reconstruction, other.reconstruction
    alone, its_alone = its.one_layer, other.one_layer
    both, others = its.all_layers, other.all_layers
    return Difference(
        other=other.subject.name,
        fvu=draws.reconstruction.estimate(_fits_apart, one.error, two.error, one.spread),
        one_layer_loss=draws.one_layer.estimate(_mean_apart, alone.loss, its_alone.loss, alone.positions),
        loss_added=draws.all_layers.estimate(_mean_apart, both.loss, others.loss, both.positions),
        kl=draws.all_layers.estimate(_mean_apart, both.kl, others.kl, both.positions),
        top1=draws.all_layers.estimate(_mean_apart, both.agreed, others.agreed, both.positions),
        replacement=draws.prompts.estimate(_ratio_apart, its.right, other.right, its.asked),
    )


def _layers(its: Measured, zero: Measured | None, mean: Measured | None, draws: Draws) -> tuple[LayerFigures, ...]:
    fit, alone, slopes = its.reconstruction, its.one_layer, its.cosines
    nothing: tuple[_Maybe, ...] = (None,) * len(fit.layers)
    fvu = draws.reconstruction.estimates(_ratio, fit.error, fit.spread)
    medians = draws.reconstruction.estimates(_medians, fit.ratios)
    l0 = draws.reconstruction.estimates(_per, fit.active, fit.positions)
    added = _added(alone, draws.one_layer)
    kl = _per_position(alone.kl, alone, draws.one_layer)
    over_zero = _recovered(alone, zero.one_layer, draws.one_layer) if zero else nothing
    over_mean = _recovered(alone, mean.one_layer, draws.one_layer) if mean else nothing
    random, real = (
        (
            draws.slopes.estimates(_per, slopes.random, slopes.positions),
            draws.slopes.estimates(_per, slopes.real, slopes.positions),
        )
        if slopes
        else (nothing, nothing)
    )
    n = float(fit.positions.sum())
    found: list[LayerFigures] = []
    for i, layer in enumerate(fit.layers):
        fired = fit.fired.get(layer)
        found.append(
            LayerFigures(
                layer=layer,
                n_features=its.subject.features.get(layer, 0),
                fvu=fvu[i],
                fvu_median=medians[i],
                l0=None if fired is None else l0[i],
                dead=None if fired is None else int((fired == 0).sum()),
                dense=None if fired is None else int((fired > _DENSE * n).sum()),
                loss_added=added[i],
                kl=kl[i],
                recovered_zero=over_zero[i],
                recovered_mean=over_mean[i],
                cosine_random=random[i],
                cosine_real=real[i],
            )
        )
    return tuple(found)


def _fired(its: Measured) -> Tensor:
    """At how many positions each feature of every layer was active."""
    counts = list(its.reconstruction.fired.values())
    return torch.cat(counts) if counts else torch.zeros(0)


def _added(splice: Splice, draws: Bootstrap) -> tuple[_Maybe, ...]:
    return draws.estimates(_added_per, splice.loss, splice.clean_loss, splice.positions)


def _per_position(sums: _Sums, splice: Splice, draws: Bootstrap) -> tuple[_Maybe, ...]:
    return draws.estimates(_per, sums, splice.positions)


def _recovered(splice: Splice, ablated: Splice, draws: Bootstrap) -> tuple[_Maybe, ...]:
    """1 − ΔCE / ΔCE of the ablation, where that one surely costs something."""
    found = draws.estimates(
        _share_recovered,
        splice.loss,
        ablated.loss,
        splice.clean_loss,
    )
    costs = _added(ablated, draws)
    return tuple(one if cost is not None and cost.low > 0 else None for one, cost in zip(found, costs, strict=True))


def _medians(ratios: _Sums) -> Tensor:
    return torch.stack([median(ratios[..., layer, :]) for layer in range(ratios.shape[-2])], dim=-1)


def _mean_median(ratios: _Sums) -> Tensor:
    return _medians(ratios).mean(-1)


def _pooled(part: _Sums, whole: _Sums) -> Tensor:
    return part.sum(-1) / whole.sum(-1)


def _fits_apart(one: _Sums, other: _Sums, whole: _Sums) -> Tensor:
    return _mean_ratio(one - other, whole)


def _ratio_apart(one: _Sums, other: _Sums, whole: _Sums) -> Tensor:
    return (one - other) / whole


def _share_recovered(loss: _Sums, worst: _Sums, clean: _Sums) -> Tensor:
    return 1 - (loss - clean[..., None]) / (worst - clean[..., None])


def _ratio(part: _Sums, whole: _Sums) -> Tensor:
    return part / whole


def _mean_ratio(part: _Sums, whole: _Sums) -> Tensor:
    return (part / whole).mean(-1)


def _per(sums: _Sums, positions: _Sums) -> Tensor:
    return sums / positions[..., None]


def _sum_per(sums: _Sums, positions: _Sums) -> Tensor:
    return sums.sum(-1) / positions


def _mean_per(sums: _Sums, positions: _Sums) -> Tensor:
    return _per(sums, positions).mean(-1)


def _added_per(loss: _Sums, clean: _Sums, positions: _Sums) -> Tensor:
    return (loss - clean[..., None]) / positions[..., None]


def _mean_added(loss: _Sums, clean: _Sums, positions: _Sums) -> Tensor:
    return _added_per(loss, clean, positions).mean(-1)


def _mean_apart(one: _Sums, other: _Sums, positions: _Sums) -> Tensor:
    return _per(one - other, positions).mean(-1)
