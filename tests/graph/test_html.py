"""A graph in a notebook: every text in it is inert."""

from html.parser import HTMLParser

import pytest

from micrographia.graph.html import graph_html, inert_html
from tests.graph.graphs import HOSTILE, full_graph


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert attrs == []
        self.found.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_only_text(text: str) -> None:
    page = graph_html(full_graph(0, text))
    page.encode()  # half a character would end here
    tags = Tags()
    tags.feed(page)
    assert tags.found == {"div", "p", "b", "table", "tr", "th", "td"}
    assert all(c.isprintable() or c == "\n" for c in page)
    assert len(page) < 100_000


def test_it_shows_targets_scores_and_nodes() -> None:
    graph = full_graph()
    tags = Tags()
    tags.feed(graph_html(graph))
    strongest = max(range(graph.nodes.spans["feature"].stop), key=lambda i: graph.nodes.influence[i])
    assert str(graph.nodes.id(strongest)) in tags.text
    assert graph.scores is not None
    assert f"{graph.scores.shown.replacement:.3f}, {graph.scores.shown.completeness:.3f}" in tags.text
    assert "influence ends in tokens" in tags.text


def test_a_long_text_is_cut() -> None:
    assert inert_html("x" * 300) == "x" * 199 + "…"
