"""A graph in a notebook: the whole page in a frame, and a still picture for where nothing may run."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from micrographia.graph.graph import Graph
from micrographia.report.page import page
from micrographia.report.picture import picture

__all__ = ["Shown"]


@dataclass(frozen=True, slots=True, repr=False)
class Shown:
    """What `graph.view()` gives: a notebook shows the page where it may, and the picture where it may not."""

    graph: Graph
    height: int = 820
    """Of the frame, in pixels."""

    def __repr__(self) -> str:
        return f"<Page of {self.graph!r}>"

    def _repr_mimebundle_(self, **_: object) -> Mapping[str, str]:
        """Text, a picture, and the page: notebooks take the richest that they allow."""
        return {"text/plain": repr(self), "image/svg+xml": picture(self.graph).svg, "text/html": self.frame()}

    def frame(self) -> str:
        """The page in a frame that may run its own script and nothing else: it cannot reach the notebook."""
        return (
            f'<iframe srcdoc="{escape(page(self.graph))}" sandbox="allow-scripts allow-downloads" '
            f'style="width:100%;height:{self.height}px;border:0" title="Graph"></iframe>'
        )
