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
from micrographia.evidence.readout import readout_of
from micrographia.graph.carriers import carriers
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind, NodeId
from micrographia.graph.targets import Combination, OfFeature, TargetRow, resolve
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
_CLOSE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""How far a graph's own edge may be from one that is computed again."""


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
    one, other = NodeId.parse(source), NodeId.parse(target)
    start, end = graph.nodes.find(one), graph.nodes.find(other)
    edge = np.flatnonzero((graph.edges.source == start) & (graph.edges.target == end))
    if len(edge) != 1:
        raise CallError(f"There is no edge from {source} to {target} in this graph.")
    parts = carriers(bench.found, one, _row_of(bench, graph, other))
    weight = float(graph.edges.weight[edge[0]])
    if not math.isclose(parts.edge, weight, rel_tol=_CLOSE[bench.model.dtype], abs_tol=1e-6):
        raise CallError(
            f"The edge from {source} to {target} is {weight:.4g} in the graph and {parts.edge:.4g} here, so the parts "
            "would not be those of the graph. It was traced in another dtype, or over several positions at once."
        )
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
        weight=weight,
        direct=parts.direct,
        several=parts.several,
        heads=tuple(sorted(rows, key=lambda row: -abs(row.last))),
    )


def _row_of(bench: Bench, graph: Graph, target: NodeId) -> TargetRow:
    """How a node of a graph reads."""
    match target:
        case NodeId(Kind.FEATURE, int(layer), int(position), int(index)):
            wanted = OfFeature(layer, index, position)
        case _:
            readout = readout_of(graph, target, bench.model)
            terms = readout.coefficients
            wanted = Combination(tuple(terms), tuple(terms.values()), readout.position)
    return resolve(wanted, bench.found, bench.model.tokenizer)[0]


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
