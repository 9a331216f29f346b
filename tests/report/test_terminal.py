"""What a terminal shows of a graph."""

import io
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from micrographia.graph.graph import Graph
from micrographia.report.books import entries
from micrographia.report.outline import outline, parts_of
from micrographia.report.terminal import summary
from micrographia.report.words import percent, shortened
from tests.graph.graphs import HOSTILE, full_graph, small_graph


def shown(graph: Graph, width: int = 100, **options: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False, force_terminal=False)
    with console.capture() as caught:
        console.print(summary(graph, width, **options))
    return caught.get()


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = shown(full_graph(2, "東京" * 8), width).splitlines()
    assert max(map(cell_len, lines)) <= max(width, 60)


def test_every_part_stands_in_the_outline_with_its_share() -> None:
    graph = full_graph(0)
    text = shown(graph, 200, parts=1000)
    for part in parts_of(graph)[1:]:
        assert re.search(rf"^ *{re.escape(percent(part.share))} .*{re.escape(part.name)}", text, re.MULTILINE), (
            part.name
        )
    assert "more, with shares of" not in text


def test_what_does_not_fit_is_counted() -> None:
    graph = full_graph(0)
    tree = outline(graph, 3)
    hidden = tree.n_parts - tree.n_shown
    assert f"{hidden} parts more, with shares of {percent(tree.hidden_share)} in sum." in shown(graph, parts=3)


def test_the_ledger_and_all_three_readings_of_the_scores_are_there() -> None:
    graph = small_graph(0)
    assert graph.ledger is not None
    text = shown(graph, 200)
    for entry in entries(graph.ledger, graph.facts):
        assert f"{entry.name}: {entry.words}" in text
    assert re.search(r"shown +\d\.\d\d +\d\.\d\d", text)
    assert re.search(r"traced +\d\.\d\d +\d\.\d\d", text)
    assert re.search(r"as circuit-tracer counts +\d\.\d\d +\d\.\d\d", text)


def test_a_graph_without_books_is_shown_without_them() -> None:
    bare = replace(small_graph(0), ledger=None, scores=None, facts=None)
    assert "Ledger" not in shown(bare)
    assert "From the answer down" in shown(bare)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_steer_nothing(text: str) -> None:
    seen = shown(full_graph(0, text), 200)
    assert all(c.isprintable() for c in seen.replace("\n", ""))
    assert shortened(text, 16).rstrip()[:8] in seen
