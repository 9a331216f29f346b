"""What `micrographia test` measures of a graph as a whole: the audit, and the curve over the size of its circuit."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from micrographia.cli.screen import inert, print_json, progress, results

if TYPE_CHECKING:
    from micrographia.evidence.audit import Audit, Estimate
    from micrographia.evidence.keeping import Curve
    from micrographia.graph.graph import Graph
    from micrographia.microscope import Microscope

__all__ = ["measure_faithfulness"]


def measure_faithfulness(
    scope: "Microscope", graph: "Graph", *, audit: bool, curve: bool, seed: int, json: bool
) -> None:
    """Measure and print what was asked for."""
    with progress() as report:
        found = scope.audit(graph, seed=seed, progress=report) if audit else None
        curves = scope.circuit_curves(graph, seed=seed, progress=report) if curve else ()
    if json:
        print_json(
            {
                "model": scope.model.name,
                "basis": scope.chosen.name,
                "audit": None if found is None else asdict(found),
                "curves": [asdict(each) for each in curves],
            }
        )
        return
    console = results()
    console.print(Text(inert(graph.prompt.text), style="bold"))
    console.print(Text(f"{inert(scope.model.name)}, read in {inert(scope.chosen.name)}", style="dim"))
    if found is not None:
        _print_audit(console, found)
    for each in curves:
        _print_curve(console, each)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=True, justify="right" if number else "left")
    return table


def _print_audit(console: Console, found: "Audit") -> None:
    from micrographia.evidence.audit import PAPER

    table = _table("what", "here", "95 %", "n", "published")
    for name, each, published in (
        ("influence with KL of ablation, log–log", found.influence, ""),
        ("  direct edge with the same", found.edge, ""),
        ("  activation with the same", found.activation, ""),
        ("feature to feature, ranks: all paths", found.paths, f"{PAPER['feature to feature, ranks']:.2f}"),
        ("  direct edge", found.direct, ""),
    ):
        if each is not None:
            table.add_row(name, f"{each.value:.2f}", _interval(each), str(each.n), published)
    console.print()
    console.print(table)
    depths = _table("layers on", "cosine", "95 %", "error", "95 %", "unanswered", "n")
    for each in found.depths:
        depths.add_row(
            str(each.depth),
            f"{each.cosine.value:.2f}",
            _interval(each.cosine),
            f"{each.error.value:.2f}",
            _interval(each.error),
            f"{each.unanswered.value:.2f}",
            str(each.cosine.n),
        )
    console.print()
    console.print(Text("A feature gone from the model and from the replacement model: their changes compared", "bold"))
    console.print(depths)
    cosine, error = PAPER["one layer on, cosine"], PAPER["one layer on, error"]
    said = (
        f"Published, one layer on: cosine {cosine:.1f}, error {error:.1f}. "
        "Unanswered is the cosine with the change as it was at first: a replacement that does nothing."
    )
    console.print(Text(said, style="dim"))


def _interval(each: "Estimate") -> str:
    return f"{each.low:.2f} … {each.high:.2f}"


def _print_curve(console: Console, curve: "Curve") -> None:
    table = _table("features", "kept", "random", "lost", "random")
    for point in curve.points:
        spans = (f"{min(each):.0%} … {max(each):.0%}" for each in (point.random_kept, point.random_lost))
        kept, lost = spans
        table.add_row(str(point.size), f"{point.kept:.0%}", kept, f"{point.lost:.0%}", lost)
    others = "the mean of other prompts" if curve.ablation == "mean" else "what they are on other prompts"
    console.print()
    console.print(Text(f"All else is {others}", style="bold"))
    console.print(table)
    said = (
        f"The answer is {curve.clean:+.2f} logits above the runner-up, and {curve.empty:+.2f} with nothing kept. Kept: "
        "the part of that way which these features alone bring back. Lost: the part that goes without them."
    )
    console.print(Text(said, style="dim"))
