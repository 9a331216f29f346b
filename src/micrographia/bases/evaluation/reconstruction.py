"""What a stand-in leaves unexplained on the model's own inputs, and which of its features are ever active.

    FVU = Σ ‖y − ŷ‖² / Σ ‖y − ȳ‖²          ȳ: the layer's mean output over the judged positions

The median is of each position's own ‖y − ŷ‖² / ‖y − μ‖², with μ the mean output over training text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.bases.evaluation.passages import Passages
from micrographia.bases.evaluation.passes import watch
from micrographia.bases.evaluation.standin import MlpView, StandIn, Turn, Written
from micrographia.errors import WorkError
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.store import Progress

__all__ = ["Reconstruction", "median", "reconstruct"]

_BINS = 360
_LOWEST, _HIGHEST = -6.0, 3.0
"""Powers of ten between which a position's own FVU is told apart; what is lower counts as 0."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """Sums of one stand-in over documents; its layers stand in the order of `layers`."""

    layers: tuple[Layer, ...]
    error: Float[Tensor, "document layer"]
    """Σ ‖y − ŷ‖²."""
    spread: Float[Tensor, "document layer"]
    """Σ ‖y − μ‖², times the factor that makes it Σ ‖y − ȳ‖² over all documents."""
    ratios: Float[Tensor, "document layer bin"]
    """How many positions have their own FVU in each bin."""
    active: Float[Tensor, "document layer"]
    """Active features, summed over positions."""
    positions: Float[Tensor, " document"]
    fired: Mapping[Layer, Int[Tensor, " feature"]]
    """At how many positions each feature was active, for layers with features."""


def median(ratios: Float[Tensor, "*axes bin"]) -> Float[Tensor, "*axes"]:
    """The median of what a histogram counts, interpolated within its bin; NaN if it counts nothing."""
    reached = ratios.cumsum(-1)
    half = reached[..., -1:] / 2
    place = (reached < half).sum(-1, keepdim=True).clamp(max=_BINS - 1)
    inside = ratios.gather(-1, place)
    share = 1 - (reached.gather(-1, place) - half) / inside
    power = _LOWEST + (place + share) * (_HIGHEST - _LOWEST) / _BINS
    return torch.where(place == 0, torch.where(inside > 0, 0.0, torch.nan), 10**power)[..., 0]


def reconstruct(
    model: Model,
    passages: Passages,
    stand_ins: Sequence[StandIn],
    means: Mapping[Layer, Float[Tensor, " d_model"]],
    *,
    tokens: int,
    progress: Progress,
) -> list[Reconstruction]:
    """Read the passages once and let every stand-in try; `means` is μ of every layer of the model."""
    spread = _Spread(passages.n_documents, means)
    sums = [_Sums(stand_in, passages.n_documents) for stand_in in stand_ins]
    for batch in passages.batches(tokens, model.device):
        where = batch.counted
        documents = batch.document_of(where)
        turns = [stand_in.begin() for stand_in in stand_ins]
        watch(model, batch, partial(_see, spread, sums, turns, documents), where=where)
        spread.count(documents)
        progress("reconstructing", int(spread.positions.sum()), passages.n_positions)
    return [each.reconstruction(spread) for each in sums]


def _see(
    spread: "_Spread",
    sums: Sequence["_Sums"],
    turns: Sequence[Turn],
    documents: Int[Tensor, " row"],
    view: MlpView,
    y: Float[Tensor, "row d_model"],
) -> None:
    own = spread.add(view.layer, y, documents)
    for each, turn in zip(sums, turns, strict=True):
        written = turn(view)
        if written is not None:
            each.add(view.layer, (y - written.output).square().sum(-1), own, written, documents)


@final
class _Spread:
    """How far outputs lie from their mean."""

    def __init__(self, n_documents: int, means: Mapping[Layer, Tensor]) -> None:
        self._means = means
        self.positions = torch.zeros(n_documents, dtype=torch.float64)
        self._squares = {layer: torch.zeros(n_documents, dtype=torch.float64) for layer in means}
        self._sums = {layer: torch.zeros(len(mean), dtype=torch.float64) for layer, mean in means.items()}

    def count(self, documents: Int[Tensor, " row"]) -> None:
        self.positions += documents.bincount(minlength=len(self.positions)).cpu()

    def add(self, layer: Layer, y: Float[Tensor, "row d_model"], documents: Int[Tensor, " row"]) -> Tensor:
        """Each position's ‖y − μ‖²."""
        away = y - self._means[layer]
        own = away.square().sum(-1)
        _by_document(self._squares[layer], documents, own)
        self._sums[layer] += away.sum(0).cpu()
        return own

    def about_own_mean(self, layer: Layer) -> Float[Tensor, " document"]:
        total, n = float(self._squares[layer].sum()), float(self.positions.sum())
        beside = float(self._sums[layer].square().sum()) / n
        return self._squares[layer] * ((total - beside) / total if total else 1.0)


@final
class _Sums:
    """One stand-in's part."""

    def __init__(self, stand_in: StandIn, n_documents: int) -> None:
        self._place = {layer: i for i, layer in enumerate(stand_in.layers)}
        shape = (len(stand_in.layers), n_documents)
        self._error, self._active = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
        self._ratios = torch.zeros(*shape, _BINS, dtype=torch.int64)
        self._fired: dict[Layer, Tensor] = {}

    def add(self, layer: Layer, error: Tensor, own: Tensor, written: Written, documents: Int[Tensor, " row"]) -> None:
        place = self._place[layer]
        _by_document(self._error[place], documents, error)
        power = (error / own).clamp(min=10**_LOWEST, max=10**_HIGHEST).nan_to_num(1.0).log10()
        bins = ((power - _LOWEST) * _BINS / (_HIGHEST - _LOWEST)).long().clamp(max=_BINS - 1)
        flat = (documents * _BINS + bins).bincount(minlength=self._ratios[place].numel())
        self._ratios[place] += flat.view_as(self._ratios[place]).cpu()
        if written.acts is not None:
            rows, features = written.acts.nonzero(as_tuple=True)
            self._active[place] += documents[rows].bincount(minlength=len(self._active[place])).cpu()
            fired = features.bincount(minlength=written.acts.shape[1]).cpu()
            self._fired[layer] = self._fired[layer] + fired if layer in self._fired else fired

    def reconstruction(self, spread: _Spread) -> Reconstruction:
        layers = tuple(self._place)
        broken = [layer for layer, place in self._place.items() if not self._error[place].isfinite().all()]
        if broken:
            raise WorkError(
                f"What is written at layers {', '.join(map(str, broken))} is not a number at some positions: "
                "the basis or the model holds NaN or infinite values, or its dtype is too narrow for it."
            )
        return Reconstruction(
            layers=layers,
            error=self._error.T,
            spread=torch.stack([spread.about_own_mean(layer) for layer in layers], dim=1),
            ratios=self._ratios.transpose(0, 1).double(),
            active=self._active.T,
            positions=spread.positions,
            fired=dict(self._fired),
        )


def _by_document(sums: Float[Tensor, " document"], documents: Int[Tensor, " row"], values: Tensor) -> None:
    sums.index_add_(0, documents.cpu(), values.cpu().double())
