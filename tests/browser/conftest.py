"""A real browser, and a page that fails if anything is fetched from elsewhere or goes wrong in it.

Our own package is imported inside the fixtures: its shape checks are put in place after conftest files load.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from filelock import FileLock

from tests.atlas.conftest import atlas, basis, corpus, llama
from tests.cli.conftest import call, folder, scope
from tests.model.conftest import case, model, tiny
from tests.server.conftest import desk, looking, served, shelf_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

    from micrographia.server.serve import Listener
    from tests.browser.sheet import Open

__all__ = [
    "atlas",
    "basis",
    "call",
    "case",
    "corpus",
    "desk",
    "folder",
    "llama",
    "looking",
    "model",
    "scope",
    "served",
    "shelf_folder",
    "tiny",
]

REPOSITORY = Path(__file__).parents[2]
REQUIRED = "MICROGRAPHIA_BROWSER_REQUIRED"
"""With this variable set, a browser or packages that are not there fail their tests instead of skipping them."""
HERE = ("127.0.0.1", "localhost", "")


def missing(said: str) -> None:
    if os.environ.get(REQUIRED):
        pytest.fail(said)
    pytest.skip(said)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, object]) -> dict[str, object]:
    """Debian's Chromium, which asks nobody for anything by itself."""
    path = shutil.which("chromium")
    if path is None:
        missing("There is no chromium on the PATH: apt-get install chromium")
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
    return {**browser_type_launch_args, "executable_path": path, "args": ["--no-sandbox", *quiet]}


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that knows nothing of other tests."""
    made = browser.new_context(viewport={"width": 1280, "height": 860})
    yield made
    made.close()


@pytest.fixture
def seen(context: BrowserContext) -> Iterator[Page]:
    """A page; at the end of the test nothing has come from elsewhere and nothing has gone wrong in it."""
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)
    wrong: list[str] = []

    def look(page: Page) -> None:
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda said: said.type == "error" and wrong.append(f"console: {said.text}"))
        page.on("request", lambda asked: urlsplit(asked.url).hostname in (*HERE, None) or wrong.append(asked.url))

    context.on("page", look)
    yield context.new_page()
    assert [each for each in wrong if not each.startswith("console: Failed to load resource")] == []


@pytest.fixture
def opened(seen: Page, served: Listener) -> Page:
    """The live page, with the token of its address."""
    seen.goto(served.door.address)
    return seen


@pytest.fixture
def sheet(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a graph as a single file in a page of its own."""
    from tests.browser.sheet import Open

    contexts: list[BrowserContext] = []

    def new(**options: object) -> BrowserContext:
        usual = {"viewport": {"width": 1280, "height": 860}, "accept_downloads": True}
        context = browser.new_context(**{**usual, **options})
        contexts.append(context)
        return context

    opened = Open(new, tmp_path)
    yield opened
    complaints = [said for each in opened.sheets for said in each.complaints]
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def modules() -> Path:
    """What npm brings, installed from the lock file when it is first needed."""
    (REPOSITORY / ".cache").mkdir(exist_ok=True)
    with FileLock(REPOSITORY / ".cache" / "viewer.lock"):
        install = [REPOSITORY / "scripts" / "viewer", "--install"]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"npm cannot install what the viewer is built with: {done.stderr[-400:]}")
    return REPOSITORY / "viewer" / "node_modules"
