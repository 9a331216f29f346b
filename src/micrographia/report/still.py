"""A graph as pictures and tables without a script, for browsers that run none.

All text from outside is escaped, and nothing is fetched. The same graph gives the same bytes, below `MOST_BYTES`: the
picture and the tables show the strongest edges and the most influential nodes, and say how many they leave out.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from html import escape

import numpy as np

from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from micrographia.report.books import Entry, counted, entries, held, judged, work
from micrographia.report.outline import Branch, Part, outline, parts_of
from micrographia.report.picture import COLOURS, picture
from micrographia.report.routes import PATHS, routes
from micrographia.report.words import joined, percent, shortened, significant

__all__ = ["MOST_BYTES", "still"]

MOST_BYTES = 1_500_000
_NODES, _EDGES, _ROUTES, _PARTS = 1500, 2000, 12, 300
_LONGEST = 60

_STYLE = """
:root{color-scheme:light dark}
.mg.still{margin:0 auto;max-width:1240px;padding:1.2rem 1.2rem 4rem;background:var(--paper);color:var(--ink);
font:15px/1.5 ui-sans-serif,system-ui,sans-serif}
h1{font-size:1.35rem;line-height:1.9;margin:.2rem 0}h2{font-size:1.05rem;margin:2.2rem 0 .5rem}
p{margin:.4rem 0}.dim,figcaption,caption{color:var(--dim);font-size:.88rem}a{color:var(--plus)}
.chip{border:1px solid var(--line);border-radius:4px;padding:.1rem .25rem;margin:0 .08rem;font-weight:500}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:6px}
.strip{display:flex;height:1.5rem;border-radius:4px;overflow:hidden;border:1px solid var(--line)}
.strip span{min-width:0}.k-shown{background:var(--plus)}.k-unexplained{background:var(--odd)}
.k-out{background:repeating-linear-gradient(45deg,var(--minus) 0 6px,transparent 6px 10px)}
.key{display:inline-block;width:.8rem;height:.8rem;border-radius:2px;margin-right:.4rem;border:1px solid var(--line)}
table{border-collapse:collapse;font-size:.88rem}caption{text-align:left;padding:.3rem 0}
th{text-align:left;position:sticky;top:0;background:var(--paper)}td,th{padding:.15rem .8rem .15rem 0;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}tr:target{outline:2px solid var(--plus)}
tbody tr:nth-child(even){background:color-mix(in srgb,var(--line) 30%,transparent)}
ul.tree,ul.tree ul{list-style:none;margin:0;padding-left:1.1rem;border-left:1px solid var(--line)}
ul.tree{border:0;padding:0}ul.tree li{padding-left:1rem}ul.tree summary{margin-left:-1rem}
.share{display:inline-block;min-width:3.6rem;text-align:right;margin-right:.5rem;font-variant-numeric:tabular-nums}
.said{color:var(--plus)}summary{cursor:pointer}code{font-size:.9em}
@media print{.wide{overflow:visible}}
"""


def still(graph: Graph) -> str:
    """All of it, to stand in a page."""
    parts = (_head, _ledger, _picture, _outline, _routes, _nodes, _edges, _foot)
    body = "\n".join(line for part in parts for line in part(graph))
    return f'<style>{COLOURS}{_STYLE}</style><div class="mg still">\n{body}\n</div>'


def _text(text: str, longest: int = _LONGEST) -> str:
    return escape(shortened(text, longest))


# ---------------------------------------------------------------- what it is


def _head(graph: Graph) -> Iterator[str]:
    n, tokens = graph.nodes, graph.nodes.spans["token"]
    heaviest = float(n.influence[tokens].max(initial=0.0)) or 1.0
    chips: list[str] = []
    for position, piece in enumerate(graph.prompt.pieces):
        node = np.flatnonzero((n.kind == Kind.TOKEN) & (n.position == position))
        share = float(n.influence[node[0]]) if len(node) else 0.0
        tint = f"background:color-mix(in srgb,var(--plus) {45 * share / heaviest:.0f}%,transparent)"
        chips.append(
            f'<span class="chip" style="{tint}" title="{position}: influence {percent(share)}">{_text(piece)}</span>'
        )
    yield f"<header><h1>{''.join(chips)}</h1>"
    yield f"<p>What made the model say {_targets(graph)}: a token is as blue as its share of the influence.</p>"
    if graph.facts is not None:
        f = graph.facts
        rule = "" if f.gate_rule is None else f", gates read by the rule {_text(f.gate_rule)}"
        yield f'<p class="dim">{_text(f.model)}, read in {_text(f.basis)}{rule}. {_text(work(f), 300)}</p>'
    yield "</header>"


def _targets(graph: Graph) -> str:
    said = [
        f"<b>{_text(t.name)}</b>" + ("" if t.probability is None else f" (p {t.probability:.3f})")
        for t in graph.targets
    ]
    return ", ".join(said)


def _ledger(graph: Graph) -> Iterator[str]:
    if graph.ledger is not None:
        found = entries(graph.ledger, graph.facts)
        yield "<section><h2>Ledger</h2><p>One unit of influence starts at the answer and is followed down. It ends:</p>"
        yield (
            '<div class="strip">'
            + "".join(
                f'<span class="{_key(e)}" style="flex:{e.share:.4f}" title="{e.name} {percent(e.share)}"></span>'
                for e in found
            )
            + "</div>"
        )
        yield _table(
            ("n", "", ""),
            ("share", "where", ""),
            ((percent(e.share), f'<span class="key {_key(e)}"></span>{e.name}', e.words) for e in found),
        )
        told = escape(" ".join((counted(graph.ledger), *held(graph.ledger))))
        yield f'<p class="dim">{told}</p>'
        yield "</section>"
    if graph.scores is not None:
        yield _table(
            ("", "n", "n", ""),
            ("how much this explains", "replacement", "completeness", "counting"),
            ((j.reading, f"{j.replacement:.3f}", f"{j.completeness:.3f}", j.words) for j in judged(graph)),
        )


def _key(entry: Entry) -> str:
    return {"shown": "k-shown", "unexplained": "k-unexplained", "left out": "k-out"}[entry.state]


# ---------------------------------------------------------------- picture, outline, routes


def _picture(graph: Graph) -> Iterator[str]:
    drawn = picture(graph, linked=_listed_nodes(graph))
    yield '<section><h2>Graph</h2><figure style="margin:0"><div class="wide">'
    yield drawn.svg
    yield (
        "</div><figcaption>● feature ■ token or target ◆ error ▲ bias; blue adds, orange and dashed takes away; an "
        f"edge is as wide as its share of its target's inputs. {escape(drawn.note)} A node leads to its row below."
        "</figcaption></figure></section>"
    )


def _outline(graph: Graph) -> Iterator[str]:
    tree = outline(graph, _PARTS)
    yield "<section><h2>From the answer down</h2>"
    listed = frozenset(_listed_nodes(graph))
    yield f'<ul class="tree">{"".join(_branch(graph, child, listed) for child in tree.root.children)}</ul>'
    hidden = tree.n_parts - tree.n_shown
    if hidden:
        yield f'<p class="dim">{joined(hidden, "part")} more, with shares of {percent(tree.hidden_share)} in sum.</p>'
    yield (
        '<p class="dim">Each part stands under what uses it; its share is the influence that enters it '
        "from outside.</p></section>"
    )


def _branch(graph: Graph, branch: Branch, listed: Collection[int]) -> str:
    """An item of the tree; a branch with children can be folded."""
    line, part = _line(branch.part, listed), branch.part
    if not branch.children:
        return f"<li>{line}</li>"
    inner = "".join(_branch(graph, child, listed) for child in branch.children)
    is_open = " open" if part.share > 0.005 else ""
    return f"<li><details{is_open}><summary>{line}</summary><ul>{inner}</ul></details></li>"


def _line(part: Part, listed: Collection[int]) -> str:
    first = part.members[0]
    count = f" ×{len(part.members)}" if len(part.members) > 1 else ""
    layers = f" · layer {part.layers}" if part.layers else ""
    place = f" · at {_text(part.places)}" if part.places and part.kind != Kind.TOKEN else ""
    active = f" · active {significant(part.activation)}" if part.kind == Kind.FEATURE else ""
    says = " ".join(f'<span class="said">{_text(said.piece, 24)}</span>' for said in part.promotes)
    name = f'<b title="{_text(part.reason, 300)}">{_text(part.name)}</b>' if part.reason else _text(part.name)
    name = f'<a href="#n{first}">{name}</a>' if first in listed else name
    return (
        f'<span class="share">{percent(part.share)}</span>{name}'
        f'<span class="dim">{count}{layers}{place}{active}</span> {says}'
    )


def _routes(graph: Graph) -> Iterator[str]:
    found = routes(graph, _ROUTES, parts_of(graph))
    if found:
        rows = (
            (percent(r.share), _sign(r.plus / r.share), " → ".join(_text(stop.name, 40) for stop in r.stops))
            for r in found
        )
        yield "<section><h2>Strongest ways</h2>"
        yield _table(("n", "", ""), ("share", "sign", "from a token to the answer"), rows)
        yield f'<p class="dim">Of the {PATHS} strongest paths; + more at the start is more at the end.</p></section>'


def _sign(plus: float) -> str:
    return "+" if plus > 0.95 else "−" if plus < 0.05 else "±"


# ---------------------------------------------------------------- tables


def _nodes(graph: Graph) -> Iterator[str]:
    order = _listed_nodes(graph)
    yield f"<section><h2>Nodes</h2><details open><summary>{_listed(len(order), len(graph.nodes), 'node')}</summary>"
    names = ("node", "says", "at", "activation", "influence", "all inputs", "promotes", "suppresses")
    yield _table(
        ("", "", "", "n", "n", "n", "", ""), names, (_node(graph, i) for i in order), ids=[f"n{i}" for i in order]
    )
    yield "</details></section>"


def _listed_nodes(graph: Graph) -> list[int]:
    """The nodes of the table: targets, then the most influential ones."""
    n = graph.nodes
    weight = np.where(n.kind == Kind.TARGET, np.inf, n.influence)
    return np.argsort(-weight, kind="stable")[:_NODES].tolist()


def _node(graph: Graph, i: int) -> Sequence[str]:
    known, position = graph.node(graph.nodes.id(i)), int(graph.nodes.position[i])
    place = "" if position < 0 else f"{position} {graph.prompt.pieces[position]}"
    numbers = (significant(known.activation), percent(known.influence), significant(known.inputs))
    told = (" ".join(shortened(piece, 24) for piece, _ in side) for side in (known.promotes, known.suppresses))
    return (str(known.id), _text(known.words), _text(place), *numbers, *(escape(text) for text in told))


def _edges(graph: Graph) -> Iterator[str]:
    e = graph.edges
    order = np.argsort(-e.score, kind="stable")[:_EDGES].tolist()
    yield f"<section><h2>Edges</h2><details><summary>{_listed(len(order), len(e), 'edge')}</summary>"
    ids = list(map(str, graph.nodes))
    rows = (
        (
            ids[e.source[i]],
            ids[e.target[i]],
            f"{e.weight[i]:+.3g}",
            percent(float(e.share[i])),
            percent(float(e.score[i])),
        )
        for i in order
    )
    yield _table(("", "", "n", "n", "n"), ("from", "to", "adds", "of its target's inputs", "of all influence"), rows)
    yield "</details></section>"


def _listed(shown: int, there: int, one: str) -> str:
    return joined(there, one) if shown == there else f"the strongest {shown:,} of {joined(there, one)}"


def _table(classes: Sequence[str], names: Sequence[str], rows: Iterable[Sequence[str]], ids: Sequence[str] = ()) -> str:
    """A table of cells that are HTML already."""
    marks = [f' class="{name}"' if name else "" for name in classes]
    head = "".join(f'<th scope="col"{mark}>{name}</th>' for mark, name in zip(marks, names, strict=True))
    named = [f' id="{name}"' for name in ids]
    lines = [
        f"<tr{named[number] if named else ''}>"
        + "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks, row, strict=True))
        + "</tr>"
        for number, row in enumerate(rows)
    ]
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def _foot(graph: Graph) -> Iterator[str]:
    facts = graph.facts
    made = "" if facts is None else ", ".join(f"{name} {version}" for name, version in sorted(facts.versions.items()))
    prints = "" if facts is None else f" Model {facts.model_fingerprint[:16]}, basis {facts.basis_fingerprint[:16]}."
    yield (
        '<footer><p class="dim">Node names are what <code>graph.node("…")</code> takes in Python. Every claim here is '
        f"read off a frozen model and untested by intervention. {_text(made, 200)}.{_text(prints, 200)}</p></footer>"
    )
