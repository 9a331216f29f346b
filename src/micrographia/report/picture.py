"""A graph as an SVG picture: tokens from left to right, layers upwards, straight edges.

● feature, ■ token or target, ◆ error, ▲ bias. Blue and unbroken adds, orange and dashed takes away; an edge is as wide
as its share of what its target gets. Nothing in it moves, runs or is fetched.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Int64

from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from micrographia.report.layout import Layout, layout
from micrographia.report.outline import parts_of
from micrographia.report.words import inert, joined, percent, shortened, significant

__all__ = ["COLOURS", "MOST_EDGES", "Picture", "picture"]

MOST_EDGES = 900
"""Edges that are drawn, the strongest ones."""
_NAMED = 18
_LONGEST = 14
_LETTER = 7.4

COLOURS = """
.mg{--ink:#1b1f24;--dim:#667080;--line:#d9dee5;--paper:#ffffff;--plus:#0072b2;--minus:#c8500a;--token:#4b5563;--odd:#9a7b00}
@media(prefers-color-scheme:dark){.mg{--ink:#e8eaed;--dim:#9aa4b2;--line:#333a44;--paper:#15181d;--plus:#56b4e9;
--minus:#ff9d57;--token:#b6c0cd;--odd:#e3c34a}}
"""
"""Colours that the common kinds of colour blindness keep apart, for light and dark."""

_STYLE = """
.mg{background:var(--paper);color:var(--ink);font:11px ui-sans-serif,system-ui,sans-serif}
.mg text{fill:var(--ink)}.mg .dim{fill:var(--dim)}.mg .rule{stroke:var(--line);stroke-width:1}
.mg .e{fill:none}.mg .plus{stroke:var(--plus)}.mg .minus{stroke:var(--minus);stroke-dasharray:5 3}
.mg .f{fill:var(--plus);stroke:var(--paper)}.mg .t{fill:var(--token);stroke:var(--paper)}
.mg .x,.mg .b{fill:var(--odd);stroke:var(--paper)}.mg .more{fill:var(--dim);font-size:9px}
.mg .said{font-weight:600;stroke:var(--paper);stroke-width:3;paint-order:stroke;stroke-linejoin:round}
.mg a:hover>*,.mg a:focus>*{stroke:var(--ink);stroke-width:2}
@media(forced-colors:active){.mg .plus,.mg .minus{stroke:CanvasText}}
"""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, and what of the graph is not in it."""

    svg: str
    n_edges: int
    """Edges drawn."""
    note: str


def picture(graph: Graph, *, linked: Collection[int] = ()) -> Picture:
    """Draw a graph. Nodes in `linked` lead to `#n` and their number, as in the page's table."""
    place = layout(graph)
    drawn = _strongest(graph)
    reach = max(
        [place.bottom, *(place.tokens + 14 + 0.6 * _LETTER * len(_token(graph, i)) for i in range(len(graph.prompt)))]
    )
    size = f'viewBox="0 0 {place.width:.0f} {reach:.0f}" width="{place.width:.0f}" height="{reach:.0f}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="mg" {size} role="img" aria-label="{escape(_told(graph))}">',
        f"<style>{COLOURS}{_STYLE}</style>",
        f'<rect width="{place.width:.0f}" height="{reach:.0f}" fill="var(--paper)"/>',
        *_frame(graph, place),
        *_edges(graph, place, drawn),
        *_nodes(graph, place, linked),
        *_names(graph, place),
        "</svg>",
    ]
    return Picture("\n".join(lines), len(drawn), _note(graph, place, len(drawn)))


def _told(graph: Graph) -> str:
    """The picture in words, for those who cannot see it."""
    named = ", ".join(shortened(target.name, 40) for target in graph.targets)
    return f"Graph of {named}: {joined(len(graph.nodes), 'node')}, {joined(len(graph.edges), 'edge')}"


def _note(graph: Graph, place: Layout, n_drawn: int) -> str:
    stacked = int(place.stacked.sum())
    said = f"The strongest {n_drawn:,} of {joined(len(graph.edges), 'edge')} are drawn"
    return said + (f"; {joined(stacked, 'node')} of full cells are in stacks, marked +n." if stacked else ".")


def _strongest(graph: Graph) -> Int64[np.ndarray, " edge"]:
    """The edges to draw, the weakest first."""
    order = np.argsort(-graph.edges.score, kind="stable")[:MOST_EDGES]
    return order[::-1].astype(np.int64)


# ---------------------------------------------------------------- parts


def _frame(graph: Graph, place: Layout) -> Iterator[str]:
    """Lines between columns, names of layers and tokens."""
    for layer, y in enumerate(place.layers):
        if layer % 5 == 0 or layer == graph.n_layers - 1:
            yield f'<text class="dim" x="6" y="{y + 4:.0f}">L{layer}</text>'
    for position, column in enumerate(place.columns):
        x = column.left
        yield f'<line class="rule" x1="{x:.0f}" y1="{place.targets + 14:.0f}" x2="{x:.0f}" y2="{place.tokens:.0f}"/>'
        said = escape(_token(graph, position))
        y = place.tokens + 18
        middle = column.middle - 4
        yield f'<text x="{middle:.0f}" y="{y:.0f}" transform="rotate(35 {middle:.0f} {y:.0f})">{said}</text>'


def _token(graph: Graph, position: int) -> str:
    return shortened(graph.prompt.pieces[position], _LONGEST)


def _edges(graph: Graph, place: Layout, drawn: Int64[np.ndarray, " edge"]) -> Iterator[str]:
    e = graph.edges
    most = float(e.score.max(initial=0.0)) or 1.0
    for edge in drawn.tolist():
        source, target = int(e.source[edge]), int(e.target[edge])
        sign = "plus" if e.weight[edge] >= 0 else "minus"
        width = 0.4 + 4.6 * float(e.share[edge]) ** 0.5
        clear = 0.12 + 0.7 * (float(e.score[edge]) / most) ** 0.4
        way = f"M{place.x[source]:.0f} {place.y[source]:.0f}L{place.x[target]:.0f} {place.y[target]:.0f}"
        yield f'<path class="e {sign}" d="{way}" stroke-width="{width:.1f}" stroke-opacity="{clear:.2f}"/>'


def _nodes(graph: Graph, place: Layout, linked: Collection[int]) -> Iterator[str]:
    most = float(graph.nodes.influence.max(initial=0.0)) or 1.0
    for node in range(len(graph.nodes)):
        if place.stacked[node]:
            continue
        kind = Kind(int(graph.nodes.kind[node]))
        size = 5.0 if kind == Kind.TARGET else 2.6 + 3.4 * (float(graph.nodes.influence[node]) / most) ** 0.5
        mark = _mark(kind, float(place.x[node]), float(place.y[node]), size, escape(_title(graph, node, kind)))
        yield f'<a href="#n{node}">{mark}</a>' if node in linked else mark
        if kind == Kind.TARGET:
            x, y = place.x[node] + 8, place.y[node] - 8
            yield f'<text class="said" x="{x:.0f}" y="{y:.0f}">{escape(shortened(graph.words(node), 24))}</text>'
    for stack in place.stacks:
        yield f'<text class="more" x="{stack.x - 5:.0f}" y="{stack.y + 3:.0f}">+{stack.n}</text>'


def _mark(kind: Kind, x: float, y: float, r: float, title: str) -> str:
    inner = f"<title>{title}</title>"
    match kind:
        case Kind.FEATURE:
            return f'<circle class="f" cx="{x:.0f}" cy="{y:.0f}" r="{r:.1f}">{inner}</circle>'
        case Kind.TOKEN | Kind.TARGET:
            box = f'x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r:.1f}" height="{2 * r:.1f}"'
            return f'<rect class="t" {box}>{inner}</rect>'
        case Kind.ERROR:
            way = f"M{x:.0f} {y - r:.1f}l{r:.1f} {r:.1f} {-r:.1f} {r:.1f} {-r:.1f} {-r:.1f}z"
            return f'<path class="x" d="{way}">{inner}</path>'
        case Kind.BIAS:
            return f'<path class="b" d="M{x:.0f} {y - r:.1f}l{r:.1f} {2 * r:.1f}h{-2 * r:.1f}z">{inner}</path>'


def _title(graph: Graph, node: int, kind: Kind) -> str:
    """What a pointer that rests on a node is told."""
    known = graph.node(graph.nodes.id(node))
    told = [str(known.id), shortened(known.words, 40)]
    if kind == Kind.FEATURE:
        told += [f"active {significant(known.activation)}", " ".join(inert(piece) for piece, _ in known.promotes)]
    if kind != Kind.TARGET:
        told.append(f"influence {percent(known.influence)}")
    return " · ".join(part for part in told if part)


def _names(graph: Graph, place: Layout) -> Iterator[str]:
    """What the most influential parts say, wherever there is room for it."""
    taken: list[tuple[float, float, float]] = []
    parts = sorted((part for part in parts_of(graph) if part.kind == Kind.FEATURE), key=lambda part: -part.share)
    for part in parts[:_NAMED]:
        seen = [node for node in part.members if not place.stacked[node]]
        said = part.promotes[0].piece if part.promotes else ""
        if not seen or not said:
            continue
        text = shortened(said, _LONGEST)
        x, y = float(place.x[seen[0]]) + 7, float(place.y[seen[0]]) + 4
        end = x + _LETTER * len(text)
        if end > place.width or any(abs(y - y1) < 11 and x < end1 and x1 < end for x1, end1, y1 in taken):
            continue
        taken.append((x, end, y))
        yield f'<text class="said" x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'
