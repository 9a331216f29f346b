"""What the page hands over, opened again and compared with the graph."""

import csv
import json
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from micrographia.graph.imported import import_graph
from micrographia.graph.nodes import Kind
from tests.browser.sheet import Open
from tests.graph.graphs import full_graph, small_graph

SVG = "{http://www.w3.org/2000/svg}"


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"))


def test_the_svg_has_every_node_and_edge_that_is_shown(sheet: Open, tmp_path: Path) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    page.page.locator(".filters button:has-text('takes away')").click()
    page.ready()
    drawn = ET.parse(page.export("SVG", tmp_path / "x.svg")).getroot()
    edges = {each.get("data-edge") for each in drawn.iter(f"{SVG}path") if each.get("class") == "edge"}
    plus = np.flatnonzero(graph.edges.weight >= 0)
    ids = list(map(str, graph.nodes))
    assert edges == {f"{ids[graph.edges.source[i]]} {ids[graph.edges.target[i]]}" for i in plus}
    assert {each.get("data-node") for each in drawn.iter() if each.get("class") == "node"} == set(ids)
    assert not [each for each in drawn.iter() if each.tag.endswith(("script", "image", "use"))]


def test_the_png_is_what_is_on_the_screen(sheet: Open, tmp_path: Path) -> None:
    page = sheet(full_graph(0))
    data = page.export("PNG", tmp_path / "x.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    size = page.ask("window.micrographia.scene.size.map(Math.round)")
    assert list(struct.unpack(">II", data[16:24])) == size
    assert len(data) > 3000


def test_the_tables_have_every_digit(sheet: Open, tmp_path: Path) -> None:
    graph = small_graph(0)
    page = sheet(graph)
    nodes = rows(page.export("TSV of nodes", tmp_path / "n.tsv"))
    assert {row["node"] for row in nodes} == set(map(str, graph.nodes))
    for row in nodes:
        assert float(row["activation"]) == graph.node(row["node"]).activation
    edges = rows(page.export("TSV of edges", tmp_path / "e.tsv"))
    found = {(row["source"], row["target"]): float(row["weight"]) for row in edges}
    ids = list(map(str, graph.nodes))
    e = graph.edges
    assert found == {
        (ids[s], ids[t]): w for s, t, w in zip(e.source.tolist(), e.target.tolist(), e.weight.tolist(), strict=True)
    }
    scores = [float(row["score"]) for row in edges]
    assert scores == sorted(scores, reverse=True)


def test_the_json_opens_as_the_same_graph(sheet: Open, tmp_path: Path) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    name = str(graph.nodes.id(0))
    page.click(name)
    page.key("p")
    path = page.export("Graph JSON", tmp_path / "x.json")
    found = import_graph(path)
    kept = np.flatnonzero(graph.nodes.kind != Kind.BIAS)
    assert set(map(str, found.nodes)) - {"bias"} == {str(graph.nodes.id(int(i))) for i in kept}
    mine = {(str(edge.source), str(edge.target)): edge.weight for node in found.nodes for edge in found.inputs_of(node)}
    ids, e = list(map(str, graph.nodes)), graph.edges
    wanted = {
        (ids[s], ids[t]): w
        for s, t, w in zip(e.source.tolist(), e.target.tolist(), e.weight.tolist(), strict=True)
        if ids[s] != "bias"
    }
    assert mine == pytest.approx(wanted)
    assert [group.name for group in found.supernodes] == ["France", "b"]
    assert json.loads(path.read_text())["qParams"]["pinnedIds"] != []


def test_the_html_is_the_same_file_with_the_view_as_it_is(sheet: Open, tmp_path: Path) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    page.click(str(graph.nodes.id(0)))
    page.key("p")
    page.page.locator(".filters button:has-text('errors')").click()
    state, counts = page.ask("JSON.stringify(window.micrographia.state)"), page.counts()
    again = sheet.file(page.export("HTML", tmp_path / "again.html"))
    assert again.ask("JSON.stringify(window.micrographia.state)") == state
    assert again.counts()["nodes_drawn"] == counts["nodes_drawn"]
    third = sheet.file(again.export("HTML", tmp_path / "third.html"))
    assert (tmp_path / "third.html").read_bytes() == (tmp_path / "again.html").read_bytes()
    assert third.counts()["edges_drawn"] == counts["edges_drawn"]


def test_python_and_command_are_what_was_asked(sheet: Open) -> None:
    graph = full_graph(0)
    page = sheet(graph, permissions=["clipboard-read", "clipboard-write"])
    found: list[str] = []
    for name in ("Copy as Python", "Copy as command"):
        page.key("e")
        page.page.get_by_role("button", name=name).click()
        page.page.wait_for_timeout(100)
        found.append(str(page.ask("navigator.clipboard.readText()")))
    compile(found[0], "copied", "exec")
    assert f"scope.trace({json.dumps(graph.prompt.text)}" in found[0]
    assert found[1].startswith(f"micrographia trace '{graph.prompt.text}'")
