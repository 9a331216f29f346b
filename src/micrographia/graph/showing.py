"""The door to the room above in which graphs are shown: it is looked up when somebody asks, so that this room does not
depend on it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from micrographia.graph.graph import Graph

__all__ = ["shown", "write_html"]


def write_html(graph: "Graph", path: Path) -> None:
    """Write the page of a graph as one file."""
    write = cast("Callable[[Graph, Path], None]", import_module("micrographia.report.page").write_page)
    write(graph, path)


def shown(graph: "Graph", height: int) -> object:
    """What a notebook shows as the page of a graph."""
    show = cast("Callable[[Graph, int], object]", import_module("micrographia.report.notebook").Shown)
    return show(graph, height)
