"""A card as tables of words, for a terminal or a page: every figure with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from micrographia.bases.evaluation.bootstrap import Estimate
from micrographia.bases.evaluation.card import Card, GraphRow, LayerFigures, Row

__all__ = ["CardTable", "markdown", "remarks", "tables_of"]

_FIT = ("", "FVU", "pooled", "median", "L0", "dead", "dense", "cos random", "cos real")
_USE = ("", "ΔCE one", "KL one", "ΔCE all", "of zero", "of mean", "KL all", "top-1", "replaced")
_APART = ("", "FVU", "ΔCE one", "ΔCE all", "KL all", "top-1", "replaced")
_GRAPHS = ("graphs", "replaced", "complete", "shown r.", "shown c.", "peer r.", "peer c.", "nodes", "edges", "path")
_LAYER_FIT = ("layer", "FVU", "median", "L0", "dead", "dense", "cos random", "cos real")
_LAYER_USE = ("layer", "ΔCE", "KL", "of zero", "of mean")


@final
@dataclass(frozen=True, slots=True)
class CardTable:
    """A title, a head, and rows as wide as the head."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables_of(card: Card) -> tuple[CardTable, ...]:
    """What is left unexplained, what it costs in the model's place, who is better, and the basis layer by layer."""
    layers = card.rows[0].layers
    return (
        CardTable("Left unexplained", _FIT, tuple(map(_fit, card.rows))),
        CardTable("In the model's place", _USE, tuple(map(_use, card.rows))),
        CardTable(
            f"{card.rows[0].name}, minus",
            _APART,
            tuple(
                (
                    each.other,
                    *_shown(each.fvu, each.one_layer_loss, each.loss_added, each.kl, each.top1, each.replacement),
                )
                for each in card.differences
            ),
        ),
        *([CardTable("Graphs", _GRAPHS, tuple(map(_graphs, card.graphs)))] if card.graphs else []),
        CardTable("Left unexplained, layer by layer", _LAYER_FIT, tuple(map(_layer_fit, layers))),
        CardTable("One layer in the model's place", _LAYER_USE, tuple(map(_layer_use, layers))),
    )


def remarks(card: Card) -> tuple[str, ...]:
    """What stands below the tables."""
    clean = "" if card.clean_loss is None else f"Clean cross-entropy {_number(card.clean_loss.value)}. "
    samples = "; ".join(f"{its.part} {its.positions:,} ({its.documents} documents)" for its in card.provenance.samples)
    rounding = card.rounding
    lost = (
        ()
        if rounding is None
        else (
            f"Rounding: weights off by {rounding.overall:.2e} of their size, at worst {rounding.worst:.2e} "
            f"({rounding.where}); 'minus' says what that does.",
        )
    )
    return (
        "FVU: Σ‖y−ŷ‖² / Σ‖y−ȳ‖², ȳ the layer's mean over the judged positions; the mean over layers, pooled over "
        "all layers, and the mean of the layers' medians over positions. L0: active features, summed over layers. "
        "Dead: never active at the positions for FVU; dense: active at more than 10 % of them. Of zero, of mean: the "
        f"share of such an ablation's loss that is recovered. Replaced: accuracy on {card.questions} filtered tokens. "
        "In brackets: 95 % intervals, by drawing documents anew.",
        f"{clean}Positions: {samples}.",
        *_about_graphs(card),
        *lost,
        *card.notes,
    )


def markdown(card: Card) -> str:
    """The card as a page."""
    source, basis = card.provenance, card.rows[0]
    parts = [f"# {basis.name}\n\n{basis.what}; {source.model} in {source.dtype}, corpus `{source.corpus_sha256[:12]}`."]
    parts += [_page_table(table) for table in tables_of(card) if table.rows]
    parts.append("\n".join(f"- {line}" for line in remarks(card)))
    rows = [f"- {row.name}: {row.what}" for row in card.rows]
    hashes = [f"- {base.name}, {name}: `{digest}`" for base in source.bases for name, digest in base.files.items()]
    made = f"- model weights: `{source.model_sha256}`\n- corpus: `{source.corpus_sha256}`\n- seed: {source.config.seed}"
    versions = ", ".join(f"{name} {number}" for name, number in source.versions.items())
    parts += ["## Who is who\n\n" + "\n".join(rows)]
    parts += ["## Provenance\n\n" + "\n".join([made, *hashes, f"- computed by {versions} on {source.device}"])]
    return "\n\n".join(parts) + "\n"


def _page_table(table: CardTable) -> str:
    lines = [table.head, tuple("---" for _ in table.head), *table.rows]
    body = "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
    return f"## {table.title}\n\n{body}"


def _fit(row: Row) -> tuple[str, ...]:
    shares = tuple("–" if share is None else f"{share:.1%}" for share in (row.dead, row.dense))
    before = _shown(row.fvu, row.fvu_pooled, row.fvu_median, row.l0)
    return (row.name, *before, *shares, *_shown(row.cosine_random, row.cosine_real))


def _use(row: Row) -> tuple[str, ...]:
    alone, recovered = (row.one_layer_loss, row.one_layer_kl), (row.recovered_zero, row.recovered_mean)
    return (row.name, *_shown(*alone, row.loss_added, *recovered, row.kl, row.top1, row.replacement))


def _graphs(row: GraphRow) -> tuple[str, ...]:
    traced, shown = (row.replacement, row.completeness), (row.shown_replacement, row.shown_completeness)
    peer, size = (row.peer_replacement, row.peer_completeness), (row.nodes, row.edges)
    return (row.name, *_shown(*traced, *shown, *peer, *size, row.path_length))


def _about_graphs(card: Card) -> tuple[str, ...]:
    if not card.graphs:
        return ()
    row, config = card.graphs[0], card.provenance.config
    return (
        f"Graphs: means over {row.prompts} prompts of {config.graph_tokens} tokens from {row.documents} documents, at "
        f"most {config.graph_nodes:,} features with rows. Replaced: the share of influence that ends at tokens and not "
        "at errors; complete: what of all inputs is no error. What got no row is an error; 'shown': what is not shown, "
        "too; 'peer': neither, as circuit-tracer counts. Path: features between a token and the answer.",
    )


def _layer_fit(its: LayerFigures) -> tuple[str, ...]:
    counts = tuple("–" if count is None else f"{count:,}" for count in (its.dead, its.dense))
    return (
        str(its.layer),
        *_shown(its.fvu, its.fvu_median, its.l0),
        *counts,
        *_shown(its.cosine_random, its.cosine_real),
    )


def _layer_use(its: LayerFigures) -> tuple[str, ...]:
    return (str(its.layer), *_shown(its.loss_added, its.kl, its.recovered_zero, its.recovered_mean))


def _shown(*figures: Estimate | None) -> Sequence[str]:
    return [
        "–" if its is None else f"{_number(its.value)} [{_number(its.low)}, {_number(its.high)}]" for its in figures
    ]


def _number(value: float) -> str:
    digits = 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:.{digits}f}".replace("-0.000", "0.000")
