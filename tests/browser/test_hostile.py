"""Prompts, labels and tokens are somebody else's words: they are shown, and nothing else comes of them."""

from pathlib import Path

import pytest

from tests.browser.sheet import Open
from tests.graph.graphs import HOSTILE, full_graph

NAMES = "[...document.querySelectorAll('#app *')].flatMap(each => each.getAttributeNames())"


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_only_shown(sheet: Open, tmp_path: Path, text: str) -> None:
    graph = full_graph(0, text)
    page = sheet(graph)
    page.click(str(graph.nodes.id(0)))
    page.away()
    page.key("/")
    page.page.get_by_role("searchbox").fill(text[:400].replace("\x00", ""))
    page.key("Escape")
    page.key("t")
    page.key("t")
    page.key("v")
    page.key("Escape")
    assert page.ask("document.querySelectorAll('#app img, #app script, #app iframe').length") == 0
    assert page.ask(f"{NAMES}.filter(name => name.startsWith('on'))") == []
    shown = str(page.ask("document.getElementById('app').textContent"))
    assert all(c.isprintable() or c == "\n" for c in shown), [c for c in shown if not c.isprintable()][:5]
    assert page.ask("document.documentElement.scrollWidth <= innerWidth")
    again = sheet.file(page.export("HTML", tmp_path / "again.html"))
    assert again.counts()["nodes_drawn"] == len(graph.nodes)
    assert again.ask("window.micrographia.graph.document.prompt.text") == page.ask(
        "window.micrographia.graph.document.prompt.text"
    )
