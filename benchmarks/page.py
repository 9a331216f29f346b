"""How quickly the page shows a large graph, in Chromium without a graphics card: 10,000 nodes and 500,000 edges.

    .venv/bin/python -m benchmarks.page [LOADS]

As one file, and by `micrographia view`. First picture: from asking to the frame that has all nodes and the strongest
edges. Memory: over 200 loads of the graph, or as many as are said. Frames: the longest
gap between two while the hand drags, zooms by the wheel and hovers, after every edge is drawn; beside it an empty page,
which shows what the machine itself does.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from micrographia.report.page import write_page
from tests.browser.test_large import large_graph

SIZE: ViewportSize = {"width": 1440, "height": 900}
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


def shown(page: Page) -> dict[str, object]:
    """What a page that was just asked for has to say when every edge is drawn."""
    page.evaluate(WATCH)
    while not page.evaluate("window.micrographia?.scene?.isDone"):
        time.sleep(0.05)
    first, last = page.evaluate("(s => [s.firstPicture, s.lastEdge])(window.micrographia.scene)")
    marks = page.evaluate("performance.getEntriesByType('mark').map(each => [each.name, each.startTime])")
    counts = page.evaluate("window.micrographia.counts()")
    return {
        "nodes": counts["nodes_drawn"],
        "edges": counts["edges_drawn"],
        "marks_ms": dict(marks),
        "first_picture_ms": first,
        "all_edges_ms": last,
    }


def single(browser: Browser, folder: Path) -> dict[str, object]:
    """As one file, beside an empty page."""
    path = folder / "large.html"
    write_page(large_graph(), path)
    page = browser.new_page(viewport=SIZE)
    page.goto("about:blank")
    page.evaluate(WATCH)
    empty = gestures(page)
    page.goto(path.as_uri(), wait_until="commit")
    found = shown(page)
    return {"file_bytes": path.stat().st_size, **found, "page": gestures(page), "empty_page": empty}


def served(browser: Browser, folder: Path, loads: int) -> dict[str, object]:
    """By `micrographia view`: the graph opened for the first time and again, and memory over many loads of it."""
    large_graph().save(folder / "large")
    line = [sys.executable, "-m", "micrographia", "view", str(folder), "--no-open", "--port", "0"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = next(each.split()[-1] for each in server.stdout if "The page:" in each)
            page = browser.new_page(viewport=SIZE)
            page.goto(address)
            link = page.get_by_role("link", name="many words").get_attribute("href") or ""
            found: dict[str, object] = {}
            for name in ("first", "again"):
                page.goto(address.split("/?")[0] + link, wait_until="commit")
                found[name] = shown(page)
            found["page"] = gestures(page)
            found["memory"] = [kept(browser, server.pid, page, n) for n in (loads // 10, *[loads // 4] * 4)]
            return found
        finally:
            server.terminate()


def kept(browser: Browser, server: int, page: Page, loads: int) -> dict[str, float]:
    """Memory after so many more loads, in MB: of the server, of all that the browser has, of the page's objects."""
    page.evaluate("async n => { for (let i = 0; i < n; i++) await window.micrographia.reopen() }", loads)
    while not page.evaluate("window.micrographia.scene.isDone"):
        time.sleep(0.05)
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")
    session.detach()
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return {
        "loads": loads,
        "server": resident(server),
        "page": sum(resident(each["id"]) for each in processes if each["type"] == "renderer"),
        "objects": heap["usedSize"] / 1e6,
        "buffers": heap["backingStorageSize"] / 1e6,
    }


def resident(process: int) -> float:
    text = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")) / 1e3


def main(loads: int) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        found = {
            "load": os.getloadavg()[0],
            "single_file": single(browser, Path(folder)),
            "served": served(browser, Path(folder), loads),
        }
        browser.close()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
