"""A graph in a terminal: the outline, the strongest routes, the books."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from micrographia.evidence.evidence import Evidence
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from micrographia.report.books import Entry, counted, entries, held, judged, work
from micrographia.report.outline import Part, outline, parts_of, walked
from micrographia.report.routes import PATHS, Route, routes
from micrographia.report.verdicts import claimed, verdicts
from micrographia.report.words import inert, joined, percent, shortened, significant

__all__ = ["summary"]

_BAR = 12
_STATES = {"shown": "green", "unexplained": "yellow", "left out": "magenta"}
_KINDS = {Kind.TOKEN: "cyan", Kind.ERROR: "yellow", Kind.BIAS: "yellow", Kind.TARGET: "bold green"}
_COLUMNS = ("share", "what", "layer", "at", "active", "promotes")
_LONGEST = 16
_NARROW, _UNBOUNDED = 92, 1000
_MOST_WIDE, _MOST_NARROW = (6, 40, 5, 15, 6), (6, 31, 5, 11, 6)


def summary(
    graph: Graph, width: int, *, parts: int = 24, ways: int = 6, evidence: Evidence | None = None
) -> RenderableType:
    """All that is worth a screen. What does not fit on it is counted."""
    if evidence is None:
        first = _outline(graph, width, parts)
    else:
        first = verdicts(graph, evidence, width, parts=parts, shares=graph.ledger is None)
    sections: list[RenderableType] = [first, *_routes(graph, ways), *_books(graph, evidence)]
    spaced: list[RenderableType] = []
    for section in sections:
        spaced += [section, Text()]
    return Group(*spaced[:-1])


# ---------------------------------------------------------------- outline


def _outline(graph: Graph, width: int, at_most: int) -> RenderableType:
    tree = outline(graph, at_most)
    rows = [_cells(branch.part, prefix) for branch, prefix in walked(tree.root)]
    table = Table.grid(padding=(0, 1, 0, 0))
    for name, longest in zip(_COLUMNS, _widths(rows, width), strict=True):
        table.add_column(no_wrap=True, width=longest, justify="right" if name in ("share", "active") else "left")
    table.add_row(*_COLUMNS, style="bold")
    for row in rows:
        table.add_row(*row)
    hidden = tree.n_parts - tree.n_shown
    note = Text(style="dim")
    if hidden:
        note.append(f"{joined(hidden, 'part')} more, with shares of {percent(tree.hidden_share)} in sum.")
    legend = _legend([branch.part for branch, _ in walked(tree.root)])
    return Group(Text("From the answer down", style="bold"), table, *([note] if hidden else []), *legend)


def _legend(parts: Sequence[Part]) -> Iterator[Text]:
    """What the names beside features are worth, if there are any."""
    if any(part.called for part in parts):
        said = "“…” .93 a feature's label over a corpus, and how well it tells in unseen text; chance is .5."
        odd = any(part.label is not None and part.label.agrees is False for part in parts)
        yield Text(said + (" ≠ it does something else here." if odd else ""), style="dim")


def _widths(rows: Sequence[Sequence[Text]], width: int) -> list[int]:
    """What each column needs, as far as there is room; the last one has what is left."""
    needed = [max(cell_len(str(cell)) for cell in column) for column in zip(_COLUMNS, *rows, strict=True)]
    most = _MOST_NARROW if width < _NARROW else _MOST_WIDE if width < _UNBOUNDED else needed
    given = [min(some, most[i]) for i, some in enumerate(needed[:-1])]
    return [*given, max(min(needed[-1], width - sum(given) - len(given)), len(_COLUMNS[-1]))]


def _cells(part: Part, prefix: str) -> Sequence[Text]:
    count = f" ×{len(part.members)}" if len(part.members) > 1 and part.kind != Kind.TARGET else ""
    called = f" {inert(part.called)}" if part.called else ""
    name = Text.assemble((prefix, "dim"), (inert(part.name), _KINDS.get(part.kind, "")), (count + called, "dim"))
    promotes = "  ".join(shortened(said.piece, _LONGEST) for said in part.promotes)
    active = significant(part.activation) if part.kind == Kind.FEATURE else ""
    places = "" if part.kind == Kind.TARGET else inert(part.places)
    places = places.split(" ")[0] if part.kind == Kind.TOKEN else places
    share = "" if part.kind == Kind.TARGET else percent(part.share)
    return Text(share), name, Text(part.layers), Text(places), Text(active), Text(promotes, style="green")


# ---------------------------------------------------------------- routes


def _routes(graph: Graph, at_most: int) -> Iterator[RenderableType]:
    found = routes(graph, at_most, parts_of(graph))
    if not found:
        return
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for route in found:
        table.add_row(percent(route.share), _sign(route), _stops(route))
    note = f"Of the {PATHS} strongest paths. + more at the start is more at the end, − less, ± both."
    yield Group(Text("Strongest ways", style="bold"), table, Text(note, style="dim"))


def _sign(route: Route) -> Text:
    plus = route.plus / route.share if route.share else 1.0
    return Text("+", style="blue") if plus > 0.95 else Text("−", style="red") if plus < 0.05 else Text("±")


def _stops(route: Route) -> Text:
    named = [(inert(part.name) + _hint(part), _KINDS.get(part.kind, "")) for part in route.stops]
    return Text(" → ").join(Text(name, style=style) for name, style in named)


def _hint(part: Part) -> str:
    """What a stop is beside its name: a token's position, a feature's label, or what it promotes first."""
    if part.label is not None and part.label.text:
        return f" “{shortened(part.label.text, _LONGEST)}”"
    if part.kind == Kind.TOKEN:
        return f" {part.places.split(' ')[0]}"
    return f" ({shortened(part.promotes[0].piece, _LONGEST)})" if part.promotes else ""


# ---------------------------------------------------------------- books


def _books(graph: Graph, evidence: Evidence | None) -> Iterator[RenderableType]:
    ledger = graph.ledger
    if ledger is not None:
        found = entries(ledger, graph.facts)
        yield Group(
            Text("Ledger: where the influence of the answer ends", style="bold"),
            _ledger(found),
            *([] if evidence is None else [claimed(evidence)]),
            *(Text(line, style="dim") for line in (counted(ledger), *held(ledger))),
        )
    if graph.scores is not None:
        yield Group(Text("How much of the model this explains", style="bold"), _scores(graph))
    if graph.facts is not None:
        yield Text(work(graph.facts), style="dim")


def _ledger(found: Sequence[Entry]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for entry in found:
        full = round(entry.share * _BAR)
        bar = Text.assemble(("█" * full, _STATES[entry.state]), ("·" * (_BAR - full), "dim"))
        table.add_row(percent(entry.share), bar, Text.assemble((f"{entry.name}: ", _STATES[entry.state]), entry.words))
    return table


def _scores(graph: Graph) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="")
    table.add_column("", no_wrap=True)
    table.add_column("replacement", justify="right", no_wrap=True)
    table.add_column("completeness", justify="right", no_wrap=True)
    table.add_column("")
    for each in judged(graph):
        table.add_row(
            each.reading, f"{each.replacement:.2f}", f"{each.completeness:.2f}", Text(each.words, style="dim")
        )
    return table
