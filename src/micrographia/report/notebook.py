"""A graph in a notebook: the whole page in a frame, and a still picture for where nothing may run."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from micrographia.evidence.evidence import Evidence
from micrographia.graph.graph import Graph
from micrographia.graph.html import graph_html
from micrographia.report.page import page
from micrographia.report.picture import picture
from micrographia.report.words import shortened

__all__ = ["Shown", "image", "summary"]

_ALONE = "A still picture: to walk through the graph, run this cell, or trust this notebook."


@dataclass(frozen=True, slots=True, repr=False)
class Shown:
    """What `graph.view()` gives: a notebook shows the page where it may, and the picture where it may not."""

    graph: Graph
    height: int = 820
    """Of the frame, in pixels."""
    evidence: Evidence | None = None

    def __repr__(self) -> str:
        return f"<Page of {self.graph!r}>"

    def _repr_mimebundle_(self, **_: object) -> Mapping[str, str]:
        """Text, a picture, and the page: notebooks take the richest that they allow."""
        return {"text/plain": repr(self), "image/svg+xml": picture(self.graph).svg, "text/html": self.frame()}

    def frame(self) -> str:
        """The page in a frame that may run its own script and nothing else: it cannot reach the notebook.

        A notebook that is not trusted, and a host that shows no frames, drop the frame and the `noscript` around the
        picture; all others show the frame only.
        """
        text = escape(page(self.graph, evidence=self.evidence))
        return (
            f'<iframe srcdoc="{text}" sandbox="allow-scripts allow-downloads" '
            f'style="width:100%;height:{self.height}px;border:0" title="Graph"></iframe>'
            f"<noscript>{image(self.graph)}<p>{_ALONE}</p></noscript>"
        )


def image(graph: Graph) -> str:
    """A still picture of a graph, and what is not in it."""
    drawn = picture(graph)
    data = b64encode(drawn.svg.encode()).decode("ascii")
    words = escape(shortened(graph.prompt.text, 80))
    return (
        f'<figure><img src="data:image/svg+xml;base64,{data}" alt="The graph of {words}" style="max-width:100%">'
        f"<figcaption>{escape(drawn.note)}</figcaption></figure>"
    )


def summary(graph: Graph) -> str:
    """What a notebook shows of a graph by itself: a picture and small tables, with nothing that runs."""
    return f"{image(graph)}\n{graph_html(graph)}"
