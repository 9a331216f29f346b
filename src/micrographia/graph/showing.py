"""The door to the room above in which graphs are shown: it is looked up when somebody asks, so that this room does not
depend on it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from micrographia.graph.graph import Graph

__all__ = ["shown", "summary", "write_html"]


def write_html(graph: "Graph", path: Path, evidence: object) -> None:
    """Write the page of a graph as one file."""
    write = cast("Callable[..., None]", import_module("micrographia.report.page").write_page)
    write(graph, path, evidence=evidence)


def shown(graph: "Graph", height: int, evidence: object) -> object:
    """What a notebook shows as the page of a graph."""
    show = cast("Callable[..., object]", import_module("micrographia.report.notebook").Shown)
    return show(graph, height, evidence)


def summary(graph: "Graph") -> str:
    """What a notebook shows of a graph by itself."""
    make = cast("Callable[[Graph], str]", import_module("micrographia.report.notebook").summary)
    return make(graph)
