"""What the attention page shows: all heads of a prompt, one head, and the heads that carry an edge."""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.carrying import carriers_of
from micrographia.graph.graph import Graph
from micrographia.model.heads import HeadScores, score_heads
from micrographia.report.wire.attention import (
    AttentionDocument,
    CarrierRow,
    CarriersDocument,
    HeadDocument,
    HeadRow,
    UniformRecord,
    Written,
)
from micrographia.report.wire.records import ColumnRecord, PromptRecord, SaidRecord

__all__ = ["Shades", "carried", "heads_of", "one_head"]

_LARGEST = 128
"""Shades of a pattern on each side, at most."""
_SAID = 5


@dataclass(frozen=True, slots=True)
class Shades:
    """All heads, and their patterns as a picture has them."""

    document: AttentionDocument
    columns: bytes


def heads_of(bench: Bench) -> Shades:
    """Every head on a prompt, with its scores."""
    a, prompt = bench.model.anatomy, bench.prompt
    scores = score_heads(bench.model, [prompt])
    step = math.ceil(bench.n_positions / _LARGEST)
    shades = np.stack([_shades(bench.pattern(layer), step) for layer in range(a.n_layers)])
    column = ColumnRecord(name="shades", dtype="u8", shape=shades.shape, offset=0)
    document = AttentionDocument(
        prompt=PromptRecord(
            ids=tuple(map(int, prompt.ids)), pieces=prompt.pieces, text=prompt.text, prepended=prompt.prepended
        ),
        n_layers=a.n_layers,
        n_heads=a.n_heads,
        heads=tuple(_row(scores, layer, head) for layer in range(a.n_layers) for head in range(a.n_heads)),
        uniform=UniformRecord(**{name: tuple(map(float, scores.uniform[name])) for name in scores.uniform}),
        n_repeated=scores.n_repeated,
        pooled=step,
        columns=(column,),
    )
    return Shades(document, shades.tobytes())


@torch.no_grad()
def one_head(bench: Bench, layer: int, head: int) -> HeadDocument:
    """Where one head looks, how much it brings from there, and which tokens its output promotes."""
    a, frozen = bench.model.anatomy, bench.frozen
    if not (0 <= layer < a.n_layers and 0 <= head < a.n_heads):
        raise CallError(f"There is no head {layer}.{head}: this model has {a.n_layers} layers of {a.n_heads} heads.")
    out = frozen.heads(layer)[head]
    return HeadDocument(
        layer=layer,
        head=head,
        pattern=_triangle(bench.pattern(layer)[head]),
        moved=_triangle(frozen.moved(layer)[head]),
        written=tuple(_written(bench, out[position], position) for position in range(bench.n_positions)),
    )


def carried(bench: Bench, graph: Graph, source: str, target: str) -> CarriersDocument:
    """An edge of a graph, split over heads."""
    parts = carriers_of(bench, graph, source, target)
    rows = [
        CarrierRow(
            layer=layer,
            head=head,
            **{name: float(getattr(parts, name)[layer, head]) for name in ("last", "first", "only", "through")},
        )
        for layer, head in np.ndindex(*parts.last.shape)
    ]
    return CarriersDocument(
        source=source,
        target=target,
        edge=parts.edge,
        direct=parts.direct,
        several=parts.several,
        heads=tuple(sorted(rows, key=lambda row: -abs(row.last))),
    )


def _row(scores: HeadScores, layer: int, head: int) -> HeadRow:
    found = {name: float(scores.table(name)[layer, head]) for name in scores.uniform}
    return HeadRow(layer=layer, head=head, **found)


def _shades(pattern: Float[Tensor, "head query key"], step: int) -> np.ndarray:
    """Square roots in 255 steps, so that a hundredth can be seen; of each `step` × `step` the largest."""
    if step > 1:
        pattern = torch.nn.functional.max_pool2d(pattern, step, ceil_mode=True)
    return (pattern.clamp(0, 1).sqrt() * 255).round().to(torch.uint8).cpu().numpy()


def _triangle(table: Float[Tensor, "query key"]) -> tuple[tuple[float, ...], ...]:
    rows = cast("list[list[float]]", table.cpu().tolist())
    return tuple(tuple(float(f"{x:.5g}") for x in row[: q + 1]) for q, row in enumerate(rows))


def _written(bench: Bench, vector: Float[Tensor, " d_model"], position: int) -> Written:
    logits = bench.frozen.promotes(vector[None], position)[0]
    logits = logits - logits.mean()
    best, worst = logits.topk(min(_SAID, len(logits))), (-logits).topk(min(_SAID, len(logits)))
    return Written(
        promoted=_said(bench, best.indices, best.values), suppressed=_said(bench, worst.indices, -worst.values)
    )


def _said(bench: Bench, tokens: Tensor, logits: Tensor) -> tuple[SaidRecord, ...]:
    pairs = zip(cast("list[int]", tokens.tolist()), cast("list[float]", logits.tolist()), strict=True)
    return tuple(SaidRecord(token=bench.piece(token), logit=float(f"{logit:.4g}")) for token, logit in pairs)
