"""The picture: well-formed, true to the graph, inert."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from micrographia.graph.nodes import Kind
from micrographia.report import picture as drawing
from micrographia.report.layout import layout
from micrographia.report.picture import picture
from tests.graph.graphs import HOSTILE, full_graph, small_graph

SVG = "{http://www.w3.org/2000/svg}"
"""The namespace without which the picture is none where it is a file of its own."""


def marks(svg: str, *names: str) -> list[ET.Element]:
    """The elements of the picture with one of these classes."""
    return [one for one in ET.fromstring(svg).iter() if set(one.get("class", "").split()) & set(names)]


def test_every_node_has_the_mark_of_its_kind() -> None:
    graph = small_graph(0, 1.0, 1.0)
    place = layout(graph)
    svg = picture(graph).svg
    kinds = graph.nodes.kind[~place.stacked]
    for names, wanted in ((("f",), [Kind.FEATURE]), (("t",), [Kind.TOKEN, Kind.TARGET]), (("x",), [Kind.ERROR])):
        assert len(marks(svg, *names)) == int(np.isin(kinds, wanted).sum())
    assert len(marks(svg, "more")) == len(place.stacks)


def test_the_sign_of_an_edge_is_a_colour_and_a_dash() -> None:
    graph = small_graph(0)
    svg = picture(graph).svg
    assert len(marks(svg, "plus")) == int((graph.edges.weight >= 0).sum())
    assert len(marks(svg, "minus")) == int((graph.edges.weight < 0).sum())
    assert ".minus{stroke:var(--minus);stroke-dasharray" in svg


def test_a_wider_edge_is_a_larger_share() -> None:
    graph = small_graph(0)
    drawn = marks(picture(graph).svg, "e")
    order = np.argsort(graph.edges.score, kind="stable")
    widths = [float(one.get("stroke-width", "")) for one in drawn]
    assert sorted(widths) == [float(f"{0.4 + 4.6 * share**0.5:.1f}") for share in np.sort(graph.edges.share)]
    assert len(order) == len(drawn)


def test_the_strongest_edges_are_drawn_and_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = small_graph(0)
    monkeypatch.setattr(drawing, "MOST_EDGES", 5)
    found = picture(graph)
    assert found.n_edges == len(marks(found.svg, "e")) == 5
    assert found.note.startswith(f"The strongest 5 of {len(graph.edges)} edges are drawn")


def test_only_listed_nodes_lead_somewhere() -> None:
    svg = picture(small_graph(0), linked=[0, 2]).svg
    assert [one.get("href") for one in ET.fromstring(svg).iter(f"{SVG}a")] == ["#n0", "#n2"]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_only_text(text: str) -> None:
    svg = picture(full_graph(0, text)).svg
    tags = {one.tag.removeprefix(SVG) for one in ET.fromstring(svg).iter()}
    assert tags <= {"svg", "style", "rect", "line", "text", "path", "circle", "title"}
    assert len(svg) < 200_000


def test_the_same_graph_gives_the_same_picture() -> None:
    assert picture(full_graph(3)).svg == picture(full_graph(3)).svg
