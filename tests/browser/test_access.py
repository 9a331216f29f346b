"""For everybody: by keyboard alone, by axe's rules, at 200 % and at 390 pixels, in the dark and in few colours."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.sheet import Open, Sheet
from tests.browser.test_walk import strongest
from tests.graph.graphs import full_graph

AXE = """axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})
  .then(all => all.violations.map(each => [each.id, each.nodes.map(node => node.html + node.failureSummary)]))"""
NARROW = {"viewport": {"width": 390, "height": 844}}


def nothing(_: Sheet) -> None:
    pass


def chosen(page: Sheet) -> None:
    page.click(strongest(full_graph(0))[0])
    page.away()
    page.page.locator(".what-if input[type=range]").fill("0")
    page.page.locator(".ledger summary").click()


def keyed(key: str) -> Callable[[Sheet], None]:
    return lambda page: page.key(key)


def menu(page: Sheet) -> None:
    page.page.get_by_role("button", name="Menu").click()


SIGHTS: dict[str, tuple[Callable[[Sheet], None], dict[str, object]]] = {
    "start": (nothing, {}),
    "chosen": (chosen, {}),
    "dark": (chosen, {"color_scheme": "dark"}),
    "narrow": (chosen, NARROW),
    "table": (keyed("t"), {}),
    "help": (keyed("?"), {}),
    "exports": (keyed("e"), {}),
    "menu": (menu, {}),
    "few colours": (chosen, {"forced_colors": "active"}),
}


@pytest.mark.parametrize(("act", "options"), SIGHTS.values(), ids=SIGHTS)
def test_axe_finds_nothing(
    sheet: Open, modules: Path, act: Callable[[Sheet], None], options: dict[str, object]
) -> None:
    page = sheet(full_graph(0), **options)
    act(page)
    page.page.evaluate((modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    assert page.ask(AXE) == []


def test_everything_can_be_done_by_keyboard(sheet: Open) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    page.page.keyboard.press("Tab")
    assert page.ask("document.activeElement.className") == "skip"
    page.key("Enter")
    assert page.ask("document.activeElement.id") == "graph"
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        page.key(key)
    assert len(page.ask("window.micrographia.state.selected")) == 1
    seen = {page.ask("window.micrographia.state.selected[0]")}
    for _ in range(60):
        page.key("ArrowDown")
    page.key("Enter")
    seen.add(page.ask("window.micrographia.state.selected[0]"))
    assert len(seen) == 2
    page.key("]")
    assert page.ask(
        "!document.querySelector('.column button.line') || document.activeElement.closest('.column') !== null"
    )
    page.key("p")
    assert page.state("pinned") != []
    page.key("g")
    page.answer("by keys")
    assert page.ask("window.micrographia.state.groups.at(-1).name") == "by keys"
    page.key("t")
    page.page.locator(".grid").focus()
    for key in ("End", "Home", "ArrowDown", "Enter"):
        page.key(key)
    assert len(page.ask("window.micrographia.state.selected")) == 1
    page.key("t")
    page.key("?")
    assert page.page.locator("dialog").is_visible()
    page.key("Escape")
    assert page.page.locator("dialog").count() == 0


def test_every_key_stands_in_the_menu_and_single_keys_can_be_switched_off(sheet: Open) -> None:
    page = sheet(full_graph(0))
    menu(page)
    listed = page.page.locator("[role=menuitem] kbd").all_inner_texts()
    assert {"p", "g", "l", "i", "[", "]", "/", "f", "e", "?", "t", "Ctrl Z"} <= set(listed)
    page.key("Escape")
    page.key("?")
    page.page.get_by_label("Single keys do something").uncheck()
    page.key("Escape")
    page.key("t")
    assert page.state("panel") == "graph"
    page.key("Control+z")


@pytest.mark.parametrize(
    "options", [NARROW, {"viewport": {"width": 640, "height": 430}, "device_scale_factor": 2}], ids=["390", "200 %"]
)
def test_nothing_sticks_out_on_small_screens(sheet: Open, options: dict[str, object]) -> None:
    page = sheet(full_graph(0), **options)
    page.click(strongest(full_graph(0))[0])
    page.away()
    assert page.ask("document.documentElement.scrollWidth <= innerWidth")
    for selector in (".links", ".subgraph", ".connections", ".detail"):
        box = page.page.locator(selector).bounding_box()
        assert box is not None
        assert box["width"] >= 300
        assert box["height"] >= 100
    page.key("t")
    assert page.page.locator(".grid").is_visible()
