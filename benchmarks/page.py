"""How quickly the page shows a large graph, in Chromium without a graphics card: 10,000 nodes and 500,000 edges.

    .venv/bin/python -m benchmarks.page [FILE]

First picture: from the first byte read to the frame that has all nodes and the strongest edges. Frames: the longest
gap between two while the hand drags, zooms by the wheel and hovers, after every edge is drawn; beside it an empty page,
which shows what the machine itself does.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from micrographia.report.page import write_page
from tests.browser.test_large import large_graph

WATCH = """
window.gaps = []; window.busy = [];
{ let last = performance.now();
  const tick = now => { window.gaps.push(now - last); last = now; requestAnimationFrame(tick) };
  requestAnimationFrame(tick);
  new PerformanceObserver(all => window.busy.push(...all.getEntries().map(e => e.duration)))
    .observe({type: 'longtask', buffered: true}); }
"""


def gestures(page: Page) -> dict[str, dict[str, float]]:
    """The gaps between frames during each gesture."""
    found: dict[str, dict[str, float]] = {}
    for name, act in {"rest": rest, "drag": drag, "wheel": wheel, "hover": hover}.items():
        page.wait_for_timeout(500)
        page.evaluate("window.gaps = []; window.busy = []")
        act(page)
        gaps, busy = page.evaluate("[window.gaps, window.busy]")
        found[name] = {
            "frames": len(gaps),
            "median_ms": sorted(gaps)[len(gaps) // 2],
            "longest_ms": max(gaps),
            "longest_task_ms": max(busy, default=0.0),
        }
    return found


def rest(page: Page) -> None:
    page.wait_for_timeout(1000)


def drag(page: Page) -> None:
    page.mouse.move(400, 400)
    page.mouse.down()
    for step in range(60):
        page.mouse.move(400 + 3 * step, 400 + step)
        page.wait_for_timeout(16)
    page.mouse.up()


def wheel(page: Page) -> None:
    page.mouse.move(400, 400)
    for step in range(30):
        page.mouse.wheel(0, -40 if step % 2 else 60)
        page.wait_for_timeout(16)


def hover(page: Page) -> None:
    for step in range(60):
        page.mouse.move(200 + 7 * step, 250 + 3 * step)
        page.wait_for_timeout(16)


def main(path: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        if path is None:
            path = Path(folder) / "large.html"
            write_page(large_graph(), path)
        flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto("about:blank")
        page.evaluate(WATCH)
        empty = gestures(page)
        page.goto(path.as_uri(), wait_until="commit")
        page.evaluate(WATCH)
        while not page.evaluate("window.micrographia?.scene?.isDone"):
            time.sleep(0.05)
        first, last = page.evaluate("(s => [s.firstPicture, s.lastEdge])(window.micrographia.scene)")
        marks = page.evaluate("performance.getEntriesByType('mark').map(each => [each.name, each.startTime])")
        counts = page.evaluate("window.micrographia.counts()")
        found = {
            "file_bytes": path.stat().st_size,
            "nodes": counts["nodes_drawn"],
            "edges": counts["edges_drawn"],
            "marks_ms": dict(marks),
            "first_picture_ms": first,
            "all_edges_ms": last,
            "page": gestures(page),
            "empty_page": empty,
        }
        browser.close()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
