"""The logit lens: what the model would say if it stopped here."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.errors import WorkError
from micrographia.ids import Layer, TokenId
from micrographia.model.forward import unembed
from micrographia.model.hooks import Gate, Hooks
from micrographia.model.model import Model
from micrographia.model.site import Point, Site, points_of
from micrographia.model.tokens import Prompt

__all__ = ["Lens", "logit_lens", "residual_sites"]


_ROWS_AT_ONCE = 256
"""The output matrix is read once for so many residuals: one pass per site would be bound by memory."""


@dataclass(frozen=True, slots=True, repr=False)
class Lens:
    """The likeliest tokens at every residual site and position, and how a watched token fares there."""

    prompt: Prompt
    sites: tuple[Site, ...]
    tokens: Int[Tensor, "site pos top"]
    probabilities: Float[Tensor, "site pos top"]
    watched: TokenId
    """The token whose rank is followed: the one asked for, else the model's answer."""
    rank: Int[Tensor, "site pos"]
    """0 where the watched token is the likeliest."""
    probability: Float[Tensor, "site pos"]

    def __repr__(self) -> str:
        return f"<Lens: {len(self.sites)} sites × {len(self.prompt.ids)} tokens, following token {self.watched}>"


def residual_sites(model: Model) -> tuple[Site, ...]:
    """Every distinct state of the residual stream, from the embedding to the last block."""
    inside = [point for point in (Point.RESID_MID, Point.RESID_POST) if point in points_of(model.anatomy)]
    layers = map(Layer, range(model.anatomy.n_layers))
    return (Site(Point.RESID_PRE, Layer(0)), *(Site(point, layer) for layer in layers for point in inside))


@torch.no_grad()
def logit_lens(
    model: Model,
    prompt: str | Prompt,
    *,
    watch: TokenId | None = None,
    sites: Sequence[Site] | None = None,
    top: int = 5,
) -> Lens:
    """Read the residual stream through the final norm and the output matrix, at every site.

    Each site is normalised by its own scale; at the last one the lens is the model's own output.
    """
    chosen = residual_sites(model) if sites is None else tuple(sites)
    run = model.run(model.prompt(prompt), read=chosen, logits="last" if watch is None else "none")
    if watch is None:
        watch = TokenId(int(run.last_logits()[0].argmax()))
    residuals = torch.cat([run[site][0] for site in chosen])
    starts = range(0, len(residuals), _ROWS_AT_ONCE)
    parts = [_row(_logits(model, residuals[i : i + _ROWS_AT_ONCE]), watch, top) for i in starts]
    shape = (len(chosen), len(run.prompts[0].ids))
    if not all(part.probabilities.isfinite().all() for part in parts):
        raise WorkError(
            f"{model.name} computes what is no number in {model.dtype}: its weights are damaged, or this dtype is too "
            "narrow for it; try float32."
        )
    return Lens(
        prompt=run.prompts[0],
        sites=chosen,
        tokens=torch.cat([part.tokens for part in parts]).view(*shape, -1),
        probabilities=torch.cat([part.probabilities for part in parts]).view(*shape, -1),
        watched=watch,
        rank=torch.cat([part.rank for part in parts]).view(shape),
        probability=torch.cat([part.probability for part in parts]).view(shape),
    )


def _logits(model: Model, rows: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
    return unembed(model.weights, model.anatomy, rows[None], Gate(Hooks()))[0]


@dataclass(frozen=True, slots=True)
class _Row:
    tokens: Int[Tensor, "row top"]
    probabilities: Float[Tensor, "row top"]
    rank: Int[Tensor, " row"]
    probability: Float[Tensor, " row"]


def _row(logits: Float[Tensor, "row d_vocab"], watch: TokenId, top: int) -> _Row:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    probabilities = logits.softmax(-1)
    best = probabilities.topk(min(top, logits.shape[-1]), dim=-1)
    rank = (logits > logits[:, watch, None]).sum(-1, dtype=torch.int32)
    return _Row(best.indices, best.values, rank, probabilities[:, watch].clone())  # a view would keep them all
