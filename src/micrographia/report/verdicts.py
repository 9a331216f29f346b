"""The tree of a graph with the verdict on each part: what was predicted, what was measured, what controls do."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from micrographia.evidence.claims import ClaimKind, of_this_prompt
from micrographia.evidence.evidence import Agreement, Evidence, Tested
from micrographia.evidence.verdicts import Verdict
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from micrographia.report.outline import Branch, Part, outline, walked
from micrographia.report.words import inert, joined, percent, shortened

__all__ = ["MARKS", "claimed", "verdicts"]

MARKS: Mapping[Verdict, tuple[str, str]] = {
    "confirmed": ("✓", "green"),
    "refuted": ("✗", "red"),
    "untested": ("·", "dim"),
}
_COLUMNS = ("", "share", "what", "predicted", "measured", "controls", "n")
_RIGHT = {"share", "predicted", "measured", "n"}
_WHAT = 30
_FIGURES = 48
_INSIDE: Mapping[ClaimKind, str] = {
    "group": "Between groups, in parts of what the second one is",
    "paths": "Along edges, by all paths, in parts of the feature at the end",
    "direct": "Along edges, directly: every MLP held",
}
_SHOWN_INSIDE, _SHOWN_OTHERS = 6, 8
_SAID: Mapping[Verdict, str] = {"untested": "undecided"}
"""Of what was tried."""

_Found: TypeAlias = Mapping[frozenset[int], Tested]


def verdicts(graph: Graph, evidence: Evidence, width: int, *, parts: int = 24, shares: bool = True) -> RenderableType:
    """All that is worth a screen. What does not fit on it is counted. Without `shares` where the ledger has them."""
    tree = outline(graph, parts)
    n = graph.nodes
    found = {frozenset(map(n.find, one.claim.members)): one for one in evidence.tested}
    rows = list(_rows(tree.root, graph, found))
    table = Table.grid(padding=(0, 1, 0, 0))
    room = min(max(cell_len(row[2].plain) for row in rows), max(_WHAT, width - 50))
    for name in _COLUMNS:
        table.add_column(
            no_wrap=True, justify="right" if name in _RIGHT else "left", width=room if name == "what" else None
        )
    table.add_row(*_COLUMNS, style="bold")
    for row in rows:
        table.add_row(*row)
    hidden = tree.n_parts - tree.n_shown
    more = [Text(f"{joined(hidden, 'part')} more; --top shows them.", style="dim")] if hidden else []
    drawn = {_claimed_of(branch.part, graph) for branch, _ in walked(tree.root)}
    others = [one for members, one in found.items() if members not in drawn and one.measured is not None]
    sections = (*_others(others, width), *_inside(evidence, width), *_summary(evidence, shares))
    return Group(_target(evidence), Text(), table, *more, Text(), *sections)


def _target(evidence: Evidence) -> Text:
    likely = "" if evidence.probability is None else f", probability {evidence.probability:.3f}"
    return Text.assemble(
        ("Without each part, ", "bold"),
        (inert(evidence.name), "bold green"),
        f" changes by so much. It is {evidence.value:.2f} above the mean logit{likely}.",
    )


def _rows(root: Branch, graph: Graph, found: _Found) -> Iterator[tuple[Text, ...]]:
    for branch, prefix in walked(root):
        part = branch.part
        count = f" ×{len(part.members)}" if len(part.members) > 1 and part.kind != Kind.TARGET else ""
        called = inert(f" {part.called}") if part.label is not None and part.label.text else ""
        name = Text.assemble((prefix, "dim"), inert(part.name), (count + called, "dim"))
        share = "" if part.kind == Kind.TARGET else percent(part.share)
        tested = found.get(_claimed_of(part, graph))
        yield _mark(tested), Text(share), name, *_figures(tested)


def _claimed_of(part: Part, graph: Graph) -> frozenset[int]:
    """The members of a part that a claim takes out."""
    return frozenset(of_this_prompt(graph, part.members))


def _others(tried: Sequence[Tested], width: int) -> Iterator[RenderableType]:
    """Claims that were tried and whose parts are not in the tree: what is confirmed first."""
    if tried:
        best = sorted(tried, key=lambda one: tuple(MARKS).index(one.judgement.verdict))[:_SHOWN_OTHERS]
        yield Text(f"Tested as well, {len(tried) - len(best)} more besides", style="bold")
        yield _listed([(one.claim.name, one) for one in best], max(width - _FIGURES, 16))
        yield Text()


def _mark(tested: Tested | None) -> Text:
    """None for what was not tried."""
    return Text() if tested is None or tested.measured is None else Text(*MARKS[tested.judgement.verdict])


def _figures(tested: Tested | None) -> tuple[Text, Text, Text, Text]:
    if tested is None:
        return Text(), Text(), Text(), Text()
    judged, measured = tested.judgement, tested.measured
    predicted = Text(_signed(tested.claim.total))
    if measured is None:
        return predicted, Text(), Text(), Text()
    spread = "" if judged.low is None or judged.high is None else f"{_signed(judged.low)} … {_signed(judged.high)}"
    style = MARKS[judged.verdict][1]
    return (
        predicted,
        Text(_signed(measured.effect), style),
        Text(spread, "dim"),
        Text(str(len(measured.controls)), "dim"),
    )


def _inside(evidence: Evidence, width: int) -> Iterator[RenderableType]:
    """What was tried of the claims about the inside, the strongest first."""
    for kind, words in _INSIDE.items():
        tried = [one for one in evidence.of(kind) if one.measured is not None]
        if tried:
            yield Text(f"{words}; {_counts(evidence.counted(kind))}", style="bold")
            yield _links(tried[:_SHOWN_INSIDE], width)
            if (agreement := evidence.agreement(kind)) is not None:
                yield Text(_agreement(agreement), style="dim")
            yield Text()


def _links(tried: Sequence[Tested], width: int) -> Table:
    room = max((width - _FIGURES - 3) // 2, 8)
    return _listed(
        [(" → ".join(shortened(name, room) for name in (one.claim.name, one.claim.to)), one) for one in tried],
        2 * room + 3,
    )


def _listed(rows: Sequence[tuple[str, Tested]], room: int) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    for name in ("", "what", *_COLUMNS[3:]):
        table.add_column(no_wrap=True, justify="right" if name in _RIGHT else "left")
    for name, one in rows:
        table.add_row(_mark(one), Text(shortened(name, room)), *_figures(one))
    return table


def _counts(counts: Mapping[Verdict, int]) -> str:
    return ", ".join(f"{mark} {counts[verdict]}" for verdict, (mark, _) in MARKS.items())


def _signed(value: float) -> str:
    """`−2.11`, `+0.031`: two decimals, or three where there would be nothing."""
    text = f"{value:+.1f}" if abs(value) >= 10 else f"{value:+.2f}" if abs(value) >= 0.1 else f"{value:+.3f}"
    return text.replace("-", "−")


def claimed(evidence: Evidence) -> Text:
    """How many of the claims that were tried are of each verdict, and how much of the influence is theirs."""
    line = Text("Claims: ", style="bold")
    for verdict, (mark, style) in MARKS.items():
        mine = [one for one in evidence.tried if one.judgement.verdict == verdict]
        share = sum((one.claim.influence for one in mine), 0.0)
        words = f"{mark} {len(mine)} {_SAID.get(verdict, verdict)} {percent(share)}"
        line.append(f"{words}, ", style if verdict != "untested" else "dim")
    n = len(evidence.claims) - len(evidence.tried)
    rest = 1.0 - sum((one.claim.influence for one in evidence.tried), 0.0)
    return Text.assemble(line, f"{n} not tried {percent(max(rest, 0.0))} of the features' influence.")


def _summary(evidence: Evidence, shares: bool) -> Iterator[Text]:
    if shares:
        yield claimed(evidence)
    for name, each in (("all paths", evidence.agreement()), ("direct edges", evidence.agreement(direct=True))):
        if each is not None:
            yield Text.assemble((f"Predicted by {name}: ", "bold"), _agreement(each))
    yield Text(
        "A part's features are taken out of the real model, which runs on. Controls are steps as long, at the same "
        "places, along other features, and shown by their middle 95 %. Of what is confirmed, "
        f"{percent(evidence.rate)} may be so by chance.",
        style="dim",
    )


def _agreement(each: Agreement) -> str:
    return (
        f"{joined(each.n, 'claim')} tried, the sign right in {percent(each.signs)}; correlation {each.pearson:.2f} "
        f"(of ranks {each.spearman:.2f}), slope {each.slope:.2f}."
    )
