"""The page as a test speaks to it: nodes by their names, what it shows in numbers."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from playwright.sync_api import BrowserContext, Download, Page, Request

from micrographia.evidence.evidence import Evidence
from micrographia.graph.graph import Graph
from micrographia.report.page import write_page
from micrographia.report.wire.records import FeatureDocument

__all__ = ["Open", "Sheet"]

_PATIENCE = 60.0


@dataclass
class Sheet:
    """One open page."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note everything that must not happen."""
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", lambda said: self._heard(said.type, said.text))
        self.page.on("request", self._asked)
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.complaints.append(f"asked for {request.url}")

    # ------------------------------------------------------------ asking

    def ask(self, expression: str, given: object = None) -> Any:
        return self.page.evaluate(expression, given)

    def until(self, expression: str) -> None:
        """Wait until something holds. The page lets no text become code, so the browser cannot wait by itself."""
        end = time.monotonic() + _PATIENCE
        while not self.ask(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            self.page.wait_for_timeout(20)

    def ready(self) -> "Sheet":
        self.until("Boolean(window.micrographia?.scene?.isDone)")
        return self

    def counts(self) -> dict[str, int | dict[str, int]]:
        self.ready()
        return cast("dict[str, int | dict[str, int]]", self.ask("window.micrographia.counts()"))

    def state(self, name: str) -> object:
        return self.ask(f"window.micrographia.state.{name}")

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.text_content() or ""

    # ------------------------------------------------------------ doing

    def where(self, name: str) -> tuple[float, float]:
        """A node's place on the screen."""
        found = self.page.evaluate(
            "name => { const m = window.micrographia; return m.scene.where(m.graph.find(name)) }", name
        )
        box = self.page.locator("#graph").bounding_box()
        assert box is not None
        return box["x"] + found[0], box["y"] + found[1]

    def hover(self, name: str) -> None:
        self.page.mouse.move(*self.where(name))
        self.page.wait_for_timeout(60)

    def click(self, name: str, *, add: bool = False) -> None:
        x, y = self.where(name)
        if add:
            self.page.keyboard.down("Shift")
        self.page.mouse.click(x, y)
        if add:
            self.page.keyboard.up("Shift")

    def away(self) -> None:
        """The pointer where it looks at nothing."""
        self.page.mouse.move(2, 2)
        self.page.wait_for_timeout(40)

    def key(self, key: str) -> None:
        self.page.keyboard.press(key)

    def answer(self, text: str) -> None:
        """Fill in the dialog that asks for one line."""
        self.page.locator("dialog input[name=text]").fill(text)
        self.key("Enter")

    def export(self, name: str, path: Path) -> Path:
        """The file that an entry of the export dialog hands over."""
        self.key("e")
        with self.page.expect_download() as coming:
            self.page.get_by_role("button", name=name, exact=True).click()
        found = cast("Download", coming.value)
        found.save_as(path)
        return path


@dataclass
class Open:
    """Opens graphs; `sheets` are those that were."""

    new: Callable[..., BrowserContext]
    folder: Path
    sheets: list[Sheet] = field(default_factory=list)

    def __call__(
        self,
        graph: Graph,
        *,
        evidence: Evidence | None = None,
        features: Mapping[str, FeatureDocument] = {},
        **options: object,
    ) -> Sheet:
        path = self.folder / f"graph-{len(self.sheets)}.html"
        write_page(graph, path, evidence=evidence, features=features)
        return self.file(path, **options)

    def file(self, path: Path, address: str = "", **options: object) -> Sheet:
        found = Sheet(self.new(**options).new_page())
        found.watch()
        self.sheets.append(found)
        found.page.goto(path.as_uri() + address)
        return found.ready()
