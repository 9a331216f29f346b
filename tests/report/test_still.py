"""Pictures and tables without a script: nothing is fetched, all text is inert."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from micrographia.graph.build import graph_of
from micrographia.report import still as stills
from micrographia.report.books import entries
from micrographia.report.outline import parts_of
from micrographia.report.still import MOST_BYTES, still
from micrographia.report.words import percent
from tests.graph.graphs import HOSTILE, full_graph, small_graph
from tests.graph.traces import random_trace

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Reader(HTMLParser):
    """The elements of a page, and whether each is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.names: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names += [name for name, _ in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_nothing_runs_and_nothing_is_fetched() -> None:
    text = still(full_graph(0))
    read = Reader(text)
    assert read.tags & {"script", "iframe", "object", "embed", "link", "img", "base", "form"} == set()
    assert not [name for name in read.names if name.startswith("on")]
    assert all(link.startswith("#") for link in read.links)
    text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"\bhttps?:|//|@import|url\(", text)


def test_every_link_leads_to_a_row_that_is_there() -> None:
    read = Reader(still(full_graph(0)))
    assert len(read.ids) == len(set(read.ids))
    assert read.links
    assert {link.removeprefix("#") for link in read.links} <= set(read.ids)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_only_text(text: str) -> None:
    read, plain = Reader(still(full_graph(0, text))), Reader(still(full_graph(0)))
    assert read.tags == plain.tags
    assert sorted(set(read.names)) == sorted(set(plain.names))
    assert len(read.links) == len(plain.links)
    assert all(c.isprintable() for c in "".join(read.text).replace("\n", ""))


def test_ledger_parts_nodes_and_edges_are_all_in_it() -> None:
    graph = full_graph(0)
    read = "\n".join(Reader(still(graph)).text)
    assert graph.ledger is not None
    for entry in entries(graph.ledger, graph.facts):
        assert entry.words in read
        assert percent(entry.share) in read
    for part in parts_of(graph)[1:]:
        assert part.name in read
    for node in graph.nodes:
        assert str(node) in read
    assert f"{len(graph.edges)} edges" in read


def test_what_a_table_leaves_out_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stills, "_NODES", 4)
    monkeypatch.setattr(stills, "_EDGES", 3)
    graph = full_graph(0)
    text = still(graph)
    read = Reader(text)
    assert len(read.ids) == 4
    assert f"the strongest 4 of {len(graph.nodes)} nodes" in text
    assert f"the strongest 3 of {len(graph.edges)} edges" in text
    assert {link.removeprefix("#") for link in read.links} <= set(read.ids)


def test_a_large_graph_stays_within_the_size_that_is_promised() -> None:
    trace = random_trace(0, n_layers=8, per_layer=250, n_positions=8)
    graph = graph_of(trace, node_share=1.0, edge_share=1.0)
    assert len(graph.nodes) > 2000
    assert len(graph.edges) > 100_000
    assert len(still(graph).encode()) < MOST_BYTES


def test_a_graph_without_books_or_edges_has_a_page_too() -> None:
    bare = replace(small_graph(0), ledger=None, scores=None, facts=None, promoted=None)
    assert "Ledger" not in "".join(Reader(still(bare)).text)
    Reader(still(small_graph(0).subgraph([])))


def test_the_same_graph_gives_the_same_text() -> None:
    assert still(full_graph(4)) == still(full_graph(4)) != still(full_graph(5))
