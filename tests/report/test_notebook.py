"""The page in a notebook."""

import re
from html import unescape

from micrographia.report.notebook import Shown
from micrographia.report.page import page
from tests.graph.graphs import full_graph


def test_a_notebook_gets_the_page_in_a_frame_and_a_picture_that_needs_no_script() -> None:
    graph = full_graph(0, '"><img src=x onerror=alert(1)>')
    shown = graph.view(height=500)
    assert isinstance(shown, Shown)
    bundle = shown._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"].startswith("<Page of <Graph of")
    assert bundle["image/svg+xml"].startswith("<svg")
    found = re.fullmatch(r'<iframe srcdoc="([^"]*)" ([^<>]*)></iframe>', bundle["text/html"])
    assert found is not None
    assert unescape(found[1]) == page(graph)
    assert 'sandbox="allow-scripts allow-downloads"' in found[2]
    assert "height:500px" in found[2]
