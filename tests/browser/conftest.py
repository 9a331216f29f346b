"""A real browser, and a page that fails if anything is fetched from elsewhere or goes wrong in it.

Our own package is imported inside the fixtures: its shape checks are put in place after conftest files load.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.model.conftest import case, model, tiny
from tests.server.conftest import desk, looking, served, shelf_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext, Page

    from micrographia.server.serve import Listener

__all__ = ["case", "desk", "looking", "model", "served", "shelf_folder", "tiny"]

HERE = ("127.0.0.1", "localhost", "")


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, object]) -> dict[str, object]:
    """Debian's Chromium, which asks nobody for anything by itself."""
    path = shutil.which("chromium")
    assert path is not None, "There is no chromium on the PATH: apt-get install chromium"
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
    return {**browser_type_launch_args, "executable_path": path, "args": ["--no-sandbox", *quiet]}


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
