"""What tests ask of a page, in words."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from playwright.sync_api import Page

__all__ = ["axe", "state", "until"]


def axe(page: Page, modules: Path) -> list[str]:
    """What of the page breaks WCAG 2.1 AA, each with where it does."""
    page.evaluate((modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    rules = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
    found = page.evaluate("rules => axe.run(document, rules)", rules)
    return [f"{each['id']}: {each['nodes'][0]['html'][:160]}" for each in found["violations"]]


def state(page: Page, what: str) -> object:
    """A part of the page's hook for tests: `state.selected`, `counts()`."""
    return cast("object", page.evaluate(f"() => window.micrographia?.{what}"))


def until(page: Page, holds: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something that no selector says."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to be"
        page.wait_for_timeout(50)
