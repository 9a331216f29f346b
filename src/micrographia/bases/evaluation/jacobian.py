"""Whether a stand-in moves as the MLP moves: the cosine of J_MLP v and J_stand-in v at the model's own inputs.

v is random, normal in every direction, or real: the way from one input to that of another position. Where a stand-in
does not move at all, the cosine counts as 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.bases.evaluation.passages import Passages
from micrographia.bases.evaluation.passes import watch
from micrographia.bases.evaluation.standin import Mlp, MlpView, StandIn
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.store import Progress

__all__ = ["Cosines", "compare_slopes"]


@dataclass(frozen=True, slots=True, eq=False)
class Cosines:
    """Sums over documents of one stand-in's cosines; its layers stand in the order of `layers`."""

    layers: tuple[Layer, ...]
    random: Float[Tensor, "document layer"]
    real: Float[Tensor, "document layer"]
    positions: Float[Tensor, " document"]


def compare_slopes(
    model: Model, passages: Passages, stand_ins: Sequence[StandIn], *, tokens: int, seed: int, progress: Progress
) -> list[Cosines]:
    """Along one random and one real direction at each position and layer."""
    generator = torch.Generator().manual_seed(seed)
    n = passages.n_documents
    found = [_nothing(stand_in.layers, n) for stand_in in stand_ins]
    done = 0
    for batch in passages.batches(tokens, model.device):
        where = batch.counted
        documents = batch.document_of(where)
        watch(model, batch, partial(_see, model, stand_ins, found, documents.cpu(), generator), where=where)
        for its in found:
            its.positions.add_(documents.bincount(minlength=n).cpu())
        done += len(documents)
        progress("comparing slopes", done, passages.n_positions)
    return found


def _nothing(layers: tuple[Layer, ...], n_documents: int) -> Cosines:
    random, real = (torch.zeros(n_documents, len(layers), dtype=torch.float64) for _ in range(2))
    return Cosines(layers, random, real, torch.zeros(n_documents, dtype=torch.float64))


def _see(
    model: Model,
    stand_ins: Sequence[StandIn],
    found: Sequence[Cosines],
    documents: Int[Tensor, " row"],
    generator: torch.Generator,
    view: MlpView,
    y: Float[Tensor, "row d_model"],
) -> None:
    mlp = Mlp(model, view.layer)
    random = torch.randn(view.x.shape, generator=generator, dtype=torch.float64).to(view.x)
    real = view.x.roll(len(view.x) // 2, dims=0) - view.x
    for v, sums in ((random, [its.random for its in found]), (real, [its.real for its in found])):
        true = mlp.slope(view.x, v)
        for stand_in, its in zip(stand_ins, sums, strict=True):
            if view.layer in stand_in.layers:
                cosine = torch.cosine_similarity(true, stand_in.slope(view, v), dim=-1)
                its[:, stand_in.layers.index(view.layer)].index_add_(0, documents, cosine.cpu().double())
