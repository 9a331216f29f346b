"""How features of an atlas look in a terminal, and what they are as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from micrographia.atlas.feature import DECILES, Beside, Example, Examples, Feature, Said
from micrographia.cli.screen import inert

if TYPE_CHECKING:
    from micrographia.atlas.atlas import Atlas
    from micrographia.atlas.find import Firing, Promoting
    from micrographia.model.tokens import Prompt, Tokenizer

__all__ = [
    "feature_content",
    "feature_page",
    "firing_content",
    "firing_table",
    "promoting_content",
    "promoting_table",
]

_BARS = " ▁▂▃▄▅▆▇█"
_HEIGHT = 4
_FEW = 6
_AROUND = 40
_LONGEST = 16


def feature_page(
    feature: Feature,
    atlas: "Atlas",
    tokenizer: "Tokenizer",
    width: int,
    *,
    label: str | None,
    strongest: int,
    per_decile: int,
    marked: bool,
) -> RenderableType:
    """All that is worth a screen of one feature; `marked` sets off the active token where colours do not."""
    lines = _Lines(feature, atlas, tokenizer, width, marked)
    head = Text.assemble(
        (f"{feature.layer}/{feature.index}", "bold cyan"),
        f"  active at {_percent(feature.density)} of {feature.n_positions:,} positions ({feature.count:,})",
    )
    called = [] if label is None else [Text(inert(label))]
    for line in called:
        line.truncate(width, overflow="ellipsis")
    if not feature.count:
        return Group(head, *called, *_effects(feature, tokenizer, width))
    figures = f"mean {_short(feature.mean)}, deviation {_short(feature.deviation)}, largest {_short(feature.largest)}"
    if feature.negative:
        figures += f"; {feature.negative / feature.count:.0%} below zero, shown by their size"
    return Group(
        head,
        *called,
        Text(figures, style="dim"),
        Text(),
        *_histogram(feature, width),
        Text(),
        *_tokens(feature, tokenizer, width),
        *_effects(feature, tokenizer, width),
        Text(),
        *_strongest(lines, strongest),
        *_by_decile(lines, per_decile),
    )


def _histogram(feature: Feature, width: int) -> Iterator[Text]:
    """Bars over the octaves of activation; where the tenths of all activations begin stands below."""
    occupied = feature.histogram.nonzero()[0]
    first, last = int(occupied[0]), int(occupied[-1]) + 1
    wide = max(1, min(3, (width - 2) // (last - first)))
    heights = feature.histogram[first:last] / feature.histogram.max() * _HEIGHT * 8
    for row in reversed(range(_HEIGHT)):
        cells = [_BARS[int(min(max(round(float(h)) - 8 * row, 0), 8))] for h in heights]
        if row == 0:
            cells = [cell if cell != " " else "▁" for cell in cells]
        yield Text("".join(cell * wide for cell in cells), style="cyan")
    edges = feature.edges
    axis = ""
    for i in range(first, last):
        label = _short(float(edges[i]))
        if (i - first) % 4 == 0 and len(axis) <= (i - first) * wide:
            axis = axis.ljust((i - first) * wide) + label + " "
    yield Text(axis.rstrip(), style="dim")


def _tokens(feature: Feature, tokenizer: "Tokenizer", width: int) -> Iterator[Text]:
    for name, offset in (("previous", -1), ("on", 0), ("next", 1)):
        said = feature.beside(offset, top=_FEW)
        of = f"of {len(feature.sample.tokens_at(offset))}"
        yield _line(name, [(tokenizer.piece(each.token), f"{each.share:.0%}") for each in said], width, of)


def _effects(feature: Feature, tokenizer: "Tokenizer", width: int) -> Iterator[Text]:
    for name, said in (("promotes", feature.promoted), ("suppresses", feature.suppressed)):
        pieces = [(tokenizer.piece(each.token), f"{each.cosine:.2f}".replace("0.", ".")) for each in said]
        yield _line(name, pieces, width)


def _line(name: str, pieces: Sequence[tuple[str, str]], width: int, end: str = "") -> Text:
    """A name and as many tokens with their figures as have room before the end."""
    line = Text.assemble((f"{name:<11}", "bold"))
    for piece, figure in pieces:
        shown = _cut(inert(piece), _LONGEST)
        if cell_len(line.plain) + cell_len(shown) + len(figure) + 3 + len(end) > width:
            break
        line.append(shown, style="green").append(f" {figure}  ", style="dim")
    return line.append(end, style="dim")


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """Examples as lines: the active token in one column, the text around it as far as there is room."""

    feature: Feature
    atlas: "Atlas"
    tokenizer: "Tokenizer"
    width: int
    marked: bool

    def __call__(self, example: Example) -> Text:
        tokens, at = self.atlas.text.tokens(example.place, _AROUND, _AROUND)
        left, active, right = Text(), Text(), Text()
        for i, token in enumerate(tokens):
            piece, place = _plain(self.tokenizer.piece(token)), i - at + example.at
            known = 0 <= place < len(example.activations)
            style = _style(example.activations[place] if known else 0.0, self.feature.largest)
            if i == at:
                active.append(f"«{piece}»" if self.marked else piece, style="bold reverse")
            else:
                (left if i < at else right).append(piece, style=style)
        room = (self.width - 8) // 2
        over = cell_len(left.plain) - room
        left = left[over:] if over > 0 else Text(" " * -over).append_text(left)
        line = Text.assemble((f"{_short(example.activation):>6}  ", "dim"), left, active, right)
        line.truncate(self.width)
        return line


def _strongest(lines: _Lines, most: int) -> Iterator[RenderableType]:
    if most:
        yield Text("Where it is strongest", style="bold")
        yield from (lines(each) for each in lines.feature.strongest[:most])


def _by_decile(lines: _Lines, most: int) -> Iterator[RenderableType]:
    if not most:
        return
    yield Text()
    yield Text("A sample, by tenths of its activations", style="bold")
    feature = lines.feature
    for tenth, examples in reversed(list(enumerate(feature.deciles(), 1))):
        low, high = (feature.quantile(i / DECILES) for i in (tenth - 1, tenth))
        note = "" if len(examples) else "  none in the sample"
        yield Text(f"{tenth:>3}: {_short(low)} to {_short(high)}{note}", style="dim")
        yield from (lines(each) for each in examples[:most])


def _style(activation: float, largest: float) -> str:
    share = activation / largest if largest else 0.0
    return "bold green" if share >= 0.5 else "green" if share >= 0.2 else "dark_green" if share > 0 else "default"


def _plain(piece: str) -> str:
    """A token in running text."""
    return inert(piece).replace("␣", " ")


def _percent(share: float) -> str:
    return f"{share:.3%}" if share < 0.01 else f"{share:.1%}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _cut(text: str, longest: int) -> str:
    return text if cell_len(text) <= longest else set_cell_size(text, longest - 1) + "…"


# ---------------------------------------------------------------- finding


def firing_table(
    firings: "Sequence[Firing]", prompt: "Prompt", atlas: "Atlas", tokenizer: "Tokenizer"
) -> RenderableType:
    """One row for each feature: how much more it fires than elsewhere, where, and what it is about."""
    if not firings:
        return Text("No feature is active in this text.")
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for name in ("peak", "spread", "feature", "density", "times"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("strongest at", "elsewhere on", "promotes"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for each in firings:
        feature = atlas.feature(each.layer, each.index)
        position, activation = each.strongest
        where = f"{_cut(inert(prompt.pieces[position]), _LONGEST)} @{position} {_short(activation)}"
        table.add_row(
            f"{each.peak:.1f}",
            f"{each.spread:.0f}",
            Text(f"{each.layer}/{each.index}", style="cyan"),
            _percent(each.density),
            str(len(each.positions)),
            Text(where, style="green"),
            _some(feature.beside(0, top=2), tokenizer),
            _some(feature.promoted[:2], tokenizer),
        )
    note = "In bits, against the corpus. peak: so strong a firing is rare; spread: it fires more often here."
    return Group(table, Text(note, style="dim"))


def promoting_table(found: "Sequence[Promoting]", atlas: "Atlas", tokenizer: "Tokenizer") -> RenderableType:
    """One row for each feature that promotes a token."""
    if not found:
        return Text(f"No feature has this token among the {atlas.manifest.plan.config.promoted} that it promotes most.")
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for name in ("cosine", "rank", "feature", "density"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("active on", "promotes"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for each in found:
        feature = atlas.feature(each.layer, each.index)
        table.add_row(
            f"{each.cosine:.3f}",
            str(each.rank + 1),
            Text(f"{each.layer}/{each.index}", style="cyan"),
            _percent(each.density),
            _some(feature.beside(0, top=4), tokenizer),
            _some(feature.promoted[:4], tokenizer),
        )
    kept = atlas.manifest.plan.config.promoted
    return Group(table, Text(f"Of the {kept} tokens that each feature promotes most.", style="dim"))


def _some(said: "Sequence[Said | Beside]", tokenizer: "Tokenizer") -> Text:
    return Text(" ".join(_cut(inert(tokenizer.piece(each.token)), _LONGEST) for each in said))


# ---------------------------------------------------------------- JSON


def feature_content(feature: Feature, atlas: "Atlas", tokenizer: "Tokenizer") -> dict[str, object]:
    """One feature for other programs."""
    return {
        "layer": feature.layer,
        "index": feature.index,
        "count": feature.count,
        "n_positions": feature.n_positions,
        "density": feature.density,
        "mean": feature.mean,
        "deviation": feature.deviation,
        "largest": feature.largest,
        "negative": feature.negative,
        "histogram": feature.histogram.tolist(),
        "edges": feature.edges.tolist(),
        "tokens": {
            str(offset): [
                {"token": each.token, "piece": tokenizer.piece(each.token), "share": each.share}
                for each in feature.beside(offset)
            ]
            for offset in (-1, 0, 1)
        },
        "promoted": _said(feature.promoted, tokenizer),
        "suppressed": _said(feature.suppressed, tokenizer),
        "strongest": _examples(feature.strongest, feature, atlas, tokenizer),
        "sample": _examples(feature.sample, feature, atlas, tokenizer),
    }


def firing_content(firing: "Firing", prompt: "Prompt", atlas: "Atlas", tokenizer: "Tokenizer") -> dict[str, object]:
    """One feature that a text makes fire."""
    feature = atlas.feature(firing.layer, firing.index)
    return {
        "layer": firing.layer,
        "index": firing.index,
        "peak": firing.peak,
        "spread": firing.spread,
        "density": firing.density,
        "weaker": firing.weaker,
        "positions": [
            {"position": position, "piece": prompt.pieces[position], "activation": activation}
            for position, activation in zip(firing.positions, firing.activations, strict=True)
        ],
        "promoted": _said(feature.promoted, tokenizer),
    }


def promoting_content(found: "Promoting", atlas: "Atlas", tokenizer: "Tokenizer") -> dict[str, object]:
    """One feature that promotes a token."""
    feature = atlas.feature(found.layer, found.index)
    return {
        "layer": found.layer,
        "index": found.index,
        "cosine": found.cosine,
        "rank": found.rank,
        "density": found.density,
        "promoted": _said(feature.promoted, tokenizer),
    }


def _said(said: tuple[Said, ...], tokenizer: "Tokenizer") -> list[dict[str, object]]:
    return [
        {"token": each.token, "piece": tokenizer.piece(each.token), "cosine": each.cosine, "logit": each.logit}
        for each in said
    ]


def _examples(examples: Examples, feature: Feature, atlas: "Atlas", tokenizer: "Tokenizer") -> list[dict[str, object]]:
    sources = atlas.manifest.plan.sources
    return [
        {
            "activation": each.activation,
            "decile": feature.decile(each.activation) + 1,
            "tokens": list(each.tokens),
            "pieces": list(tokenizer.pieces(each.tokens)),
            "activations": list(each.activations),
            "at": each.at,
            "document": each.document,
            "source": sources[each.source].name,
        }
        for each in examples
    ]
