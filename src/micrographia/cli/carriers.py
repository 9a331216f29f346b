"""What `micrographia heads GRAPH --edge` does: an edge of a graph, split over the heads that carry it."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from micrographia.cli.claims import opened
from micrographia.cli.options import ModelOptions
from micrographia.cli.screen import inert, print_json, results

if TYPE_CHECKING:
    from micrographia.graph.carriers import Carriers
    from micrographia.graph.graph import Graph

__all__ = ["show_carriers"]


def show_carriers(
    folder: Path, edge: tuple[str, str], basis: str | None, options: ModelOptions, *, top: int, json: bool
) -> None:
    """Split an edge, given by the names of its ends."""
    from micrographia.graph.files import load_graph

    graph = load_graph(folder)
    parts = opened(graph, folder, basis, options).carriers(graph, *edge)
    if json:
        print_json(_content(edge, parts))
        return
    console = results()
    console.print(Text.assemble(("From ", "dim"), _named(graph, edge[0]), (" to ", "dim"), _named(graph, edge[1])))
    console.print()
    console.print(_table(parts, top))
    console.print(
        Text(
            f"Direct and all that heads deliver add up to the edge, and so do direct and all that they take up. "
            f"{parts.several:+.3g} passes more than one head; a path through two counts at both in the last column. "
            "Patterns are held as the prompt left them.",
            style="dim",
        )
    )


def _named(graph: "Graph", name: str) -> Text:
    words = graph.words(graph.nodes.find(name))
    return Text.assemble((name, "cyan"), f" {inert(words)}" if words else "")


def _table(parts: "Carriers", top: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("head", style="cyan", no_wrap=True)
    for name in ("delivers", "of the edge", "takes up", "all through it"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("no head: direct", *_pair(parts.direct, parts.edge), f"{parts.direct:+.4g}", "")
    heads = _ordered(parts)
    for layer, head in heads[:top]:
        last, first, through = (float(each[layer, head]) for each in (parts.last, parts.first, parts.through))
        table.add_row(f"{layer}.{head}", *_pair(last, parts.edge), f"{first:+.4g}", f"{through:+.4g}")
    if left := heads[top:]:
        last, first = (sum(float(each[head]) for head in left) for each in (parts.last, parts.first))
        table.add_row(f"{len(left)} other heads", *_pair(last, parts.edge), f"{first:+.4g}", "")
    delivered, taken = (parts.direct + float(each.sum()) for each in (parts.last, parts.first))
    table.add_row("the edge", *_pair(delivered, parts.edge), f"{taken:+.4g}", "", style="bold")
    return table


def _pair(value: float, edge: float) -> tuple[str, str]:
    return f"{value:+.4g}", f"{value / edge:.1%}" if edge else ""


def _ordered(parts: "Carriers") -> list[tuple[int, int]]:
    """All heads, those first that deliver most."""
    n_heads = parts.last.shape[1]
    order = parts.last.abs().flatten().argsort(descending=True, stable=True)
    return [divmod(int(each), n_heads) for each in order]


def _content(edge: tuple[str, str], parts: "Carriers") -> dict[str, object]:
    return {
        "source": edge[0],
        "target": edge[1],
        "edge": parts.edge,
        "direct": parts.direct,
        "several": parts.several,
        "heads": [
            {"layer": layer, "head": head}
            | {name: float(getattr(parts, name)[layer, head]) for name in ("last", "first", "only", "through")}
            for layer, head in _ordered(parts)
        ],
    }
