"""The page in a notebook."""

import re
import xml.etree.ElementTree as ET
from base64 import b64decode
from html import escape, unescape

import pytest

from micrographia.evidence.claims import claims_of
from micrographia.evidence.evidence import Evidence
from micrographia.report.notebook import Shown
from micrographia.report.page import page
from tests.graph.graphs import HOSTILE, full_graph


def test_a_notebook_gets_the_page_in_a_frame_and_a_picture_that_needs_no_script() -> None:
    graph = full_graph(0, '"><img src=x onerror=alert(1)>')
    shown = graph.view(height=500)
    assert isinstance(shown, Shown)
    bundle = shown._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"].startswith("<Page of <Graph of")
    assert bundle["image/svg+xml"].startswith("<svg")
    found = re.match(r'<iframe srcdoc="([^"]*)" ([^<>]*)></iframe>', bundle["text/html"])
    assert found is not None
    assert unescape(found[1]) == page(graph)
    assert 'sandbox="allow-scripts allow-downloads"' in found[2]
    assert "height:500px" in found[2]


def test_the_frame_shows_what_is_known_of_claims() -> None:
    graph = full_graph(0)
    claims = claims_of(graph)
    evidence = Evidence(claims[0].target, "x", 1.0, 0.5, claims, {})
    shown = graph.view(evidence=evidence)
    assert isinstance(shown, Shown)
    assert escape(page(graph, evidence=evidence)) in shown.frame()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_graph_by_itself_is_a_picture_and_tables_with_nothing_that_runs(text: str) -> None:
    found = full_graph(0, text)._repr_html_()
    tags = set(re.findall(r"<([a-z]+)", found))
    assert tags == {"figure", "img", "figcaption", "div", "p", "b", "table", "tr", "th", "td"}
    [data] = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', found)
    drawn = ET.fromstring(b64decode(data))
    assert drawn.tag.endswith("svg")
    assert not [each for each in drawn.iter() if each.tag.endswith(("script", "image", "foreignObject"))]
