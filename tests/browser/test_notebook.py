"""What a cell shows, as notebooks put it into their pages: trusted, cleaned, and where nothing may run."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from micrographia.report.notebook import Shown
from tests.graph.graphs import full_graph

ALONE = "A still picture"


def cell(folder: Path, text: str) -> str:
    """The address of a page that has the output of a cell in it."""
    path = folder / "cell.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><title>Notebook</title><body>{text}</body>", encoding="utf-8")
    return path.as_uri()


def test_a_cell_shows_the_page_in_a_frame_that_cannot_reach_the_notebook(seen: Page, tmp_path: Path) -> None:
    graph = full_graph(0)
    seen.goto(cell(tmp_path, Shown(graph, 700).frame()))
    frame = seen.frame_locator("iframe")
    expect(frame.locator("#graph canvas").first).to_be_visible()
    expect(frame.locator(".ledger")).to_contain_text("tokens")
    inside = next(each for each in seen.frames if each != seen.main_frame)
    assert inside.evaluate("window.micrographia.ready.then(() => window.micrographia.counts().nodes)") == len(
        graph.nodes
    )
    assert inside.evaluate("() => { try { return parent.document.title } catch (e) { return e.name } }") == (
        "SecurityError"
    )
    expect(seen.get_by_text(ALONE)).to_have_count(0)


def test_where_the_frame_is_taken_out_a_picture_is_left(seen: Page, tmp_path: Path) -> None:
    """As notebooks that are not trusted do, which keep what stands in an element that they do not know."""
    cleaned = re.sub(r"<iframe .*?</iframe>|</?noscript>", "", Shown(full_graph(0)).frame(), flags=re.DOTALL)
    seen.goto(cell(tmp_path, cleaned))
    expect(seen.get_by_text(ALONE)).to_be_visible()
    assert seen.evaluate("() => document.images[0].decode().then(() => document.images[0].naturalWidth)") > 100
