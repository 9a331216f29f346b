"""The logit lens: what the model would say if it stopped here."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.ids import Layer, TokenId
from micrographia.model.forward import unembed
from micrographia.model.hooks import Gate, Hooks
from micrographia.model.model import Model
from micrographia.model.site import Point, Site, points_of
from micrographia.model.tokens import Prompt

__all__ = ["Lens", "logit_lens", "residual_sites"]


@dataclass(frozen=True, slots=True)
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
    """Read the residual stream through the final norm and the output matrix, at every site as it passes.

    Each site is normalised by its own scale; at the last one the lens is the model's own output.
    """
    chosen = residual_sites(model) if sites is None else tuple(sites)
    if watch is None:
        run = model.run(prompt, logits="last")
        prompt, watch = run.prompts[0], TokenId(int(run.last_logits()[0].argmax()))
    rows: dict[Site, _Row] = {}

    def look(act: Tensor, site: Site, /) -> None:
        rows[site] = _row(unembed(model.weights, model.anatomy, act, Gate(Hooks()))[0], watch, top)

    run = model.run(prompt, readers=dict.fromkeys(chosen, look), logits="none")
    ordered = [rows[site] for site in chosen]
    return Lens(
        prompt=run.prompts[0],
        sites=chosen,
        tokens=torch.stack([row.tokens for row in ordered]),
        probabilities=torch.stack([row.probabilities for row in ordered]),
        watched=watch,
        rank=torch.stack([row.rank for row in ordered]),
        probability=torch.stack([row.probability for row in ordered]),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    tokens: Int[Tensor, "pos top"]
    probabilities: Float[Tensor, "pos top"]
    rank: Int[Tensor, " pos"]
    probability: Float[Tensor, " pos"]


def _row(logits: Float[Tensor, "pos d_vocab"], watch: TokenId, top: int) -> _Row:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    probabilities = logits.softmax(-1)
    best = probabilities.topk(min(top, logits.shape[-1]), dim=-1)
    rank = (logits > logits[:, watch, None]).sum(-1)
    return _Row(best.indices, best.values, rank, probabilities[:, watch])
