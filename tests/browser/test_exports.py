"""What the page hands over, opened again and compared with the graph."""

import ast
import csv
import io
import json
import shlex
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from micrographia.graph.files import load_graph
from micrographia.graph.graph import Graph, NodeLabel, Supernode
from micrographia.graph.imported import graph_of_json, import_graph
from micrographia.graph.nodes import Kind, NodeId
from micrographia.microscope import Microscope
from tests.browser.sheet import Open, Sheet
from tests.cli.calling import Call
from tests.graph.graphs import HOSTILE, full_graph, same, small_graph
from tests.graph.peer_json import peer_json

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


def test_the_svg_opens_in_a_browser_as_it_lies_on_the_page(sheet: Open, tmp_path: Path) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    path = page.export("SVG", tmp_path / "x.svg")
    places = page.ask(
        "(m => Object.fromEntries(m.graph.names.map((n, i) => [n, [m.scene.place.x[i], m.scene.place.y[i]]])))"
        "(window.micrographia)"
    )
    page.page.goto(path.as_uri())
    found = page.ask(
        "Object.fromEntries([...document.querySelectorAll('.node')].map(n => [n.dataset.node, n.getBBox()])"
        ".map(([n, b]) => [n, [b.x + b.width / 2, b.y + b.height / 2]]))"
    )
    assert set(found) == set(map(str, graph.nodes))
    assert max(abs(a - b) for name in found for a, b in zip(found[name], places[name], strict=True)) < 1
    assert page.ask("document.querySelectorAll('.edge').length") == len(graph.edges)


def test_the_png_is_what_is_on_the_screen(sheet: Open, tmp_path: Path) -> None:
    page = sheet(full_graph(0))
    page.away()
    shown = pixels(page.page.locator("#graph").screenshot())
    saved = pixels(page.export("PNG", tmp_path / "x.png").read_bytes())
    assert list(saved.shape[:2]) == page.ask("window.micrographia.scene.size.map(Math.round).reverse()")
    # The buttons and the legend lie over the screen's; and it begins at a part of a pixel.
    part = slice(saved.shape[0] - 50), slice(saved.shape[1] - 20)
    saved = saved[part]
    assert min(np.abs(shown[first:][part] - saved).mean() for first in (0, 1)) < 0.5
    # One node less is seen.
    page.click(str(full_graph(0).nodes.id(0)))
    page.key("x")
    page.away()
    page.ready()
    other = pixels(page.export("PNG", tmp_path / "y.png").read_bytes())[part]
    assert np.abs(other - saved).mean() > 0.5


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


@pytest.mark.parametrize("text", [*HOSTILE, "France"])
def test_the_json_opens_as_the_graph_that_was_opened(sheet: Open, tmp_path: Path, text: str) -> None:
    graph = full_graph(2, text)
    page = sheet(graph)
    path = page.export("Graph JSON", tmp_path / "x.json")
    assert same(import_graph(path), graph)
    assert graph.ledger is not None
    assert graph.outputs_of("bias")


def test_the_json_of_a_bare_graph_opens_as_it_was(sheet: Open, tmp_path: Path) -> None:
    graph = small_graph(1).subgraph([])
    assert same(import_graph(sheet(graph).export("Graph JSON", tmp_path / "x.json")), graph)


def test_the_json_holds_what_a_person_did_and_nothing_that_is_hidden_is_lost(sheet: Open, tmp_path: Path) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    first, fourth = (str(graph.nodes.id(i)) for i in (0, 3))
    page.click(fourth)
    for key, answer in (("p", ""), ("l", "my word"), ("g", "mine")):
        page.key(key)
        if answer:
            page.answer(answer)
    page.click(first)
    page.key("x")
    path = page.export("Graph JSON", tmp_path / "x.json")
    found = import_graph(path)
    assert same(found, found_with(graph, fourth))
    assert len(json.loads(path.read_text())["qParams"]["pinnedIds"]) == 1


def found_with(graph: Graph, name: str) -> Graph:
    """The graph with what the test before has done to one node."""
    node = NodeId.parse(name)
    mine = Supernode("mine", (node,), "grouped by hand", "user")
    labels = {**graph.labels, node: NodeLabel("my word", by="user")}
    return replace(graph, labels=labels, supernodes=(*graph.supernodes, mine))


def test_the_json_of_what_is_shown_is_just_that(sheet: Open, tmp_path: Path) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    page.page.locator(".filters button:has-text('errors')").click()
    page.page.locator(".filters button:has-text('takes away')").click()
    found = import_graph(page.export("Graph JSON of what is shown", tmp_path / "x.json"))
    shown = np.flatnonzero(~np.isin(graph.nodes.kind, [Kind.BIAS, Kind.ERROR]))
    assert set(map(str, found.nodes)) == {str(graph.nodes.id(int(i))) for i in shown}
    mine = {(str(edge.source), str(edge.target)): edge.weight for node in found.nodes for edge in found.inputs_of(node)}
    ids, e = list(map(str, graph.nodes)), graph.edges
    assert mine == {
        (ids[s], ids[t]): w
        for s, t, w in zip(e.source.tolist(), e.target.tolist(), e.weight.tolist(), strict=True)
        if s in shown and w >= 0
    }


def test_another_tools_file_is_given_back_as_it_was(sheet: Open, tmp_path: Path) -> None:
    content = peer_json(3)
    content["nodes"][2] |= {"clerp": "a label", "evidence": {"verdict": "confirmed"}}
    content["links"][0] |= {"note": [1, 2]}
    del content["qParams"]["sg_pos"]
    graph = graph_of_json(json.loads(json.dumps(content)))
    found = json.loads(sheet(graph).export("Graph JSON", tmp_path / "x.json").read_text())
    for part in ("metadata", "qParams"):
        assert found[part] == content[part]
    assert by_name(found["nodes"], "node_id") == by_name(content["nodes"], "node_id")
    assert by_name(found["links"], "source", "target") == by_name(content["links"], "source", "target")


def by_name(records: list[dict], *keys: str) -> dict[tuple[str, ...], dict]:
    return {tuple(each[key] for key in keys): each for each in records}


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


def copied(page: Sheet, name: str) -> str:
    page.key("e")
    page.page.get_by_role("button", name=name).click()
    page.page.wait_for_timeout(100)
    return str(page.ask("navigator.clipboard.readText()"))


ASKED: dict[str, dict] = {
    "one token": {"target": "t13", "max_nodes": 40, "edge_share": 0.9},
    "against": {"target": "t13", "against": "t14", "share": 0.7},
    "the likeliest": {"position": 1},
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_what_is_copied_makes_the_same_graph_again(
    sheet: Open,
    scope: Microscope,
    folder: Path,
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict,
) -> None:
    graph = scope.trace("t3 t5 t7", **asked)
    page = sheet(graph, permissions=["clipboard-read", "clipboard-write"])
    lines, command = copied(page, "Copy as Python"), copied(page, "Copy as command")
    monkeypatch.chdir(folder.parent)
    made: dict[str, Graph] = {}
    exec(compile(lines, "copied", "exec"), made)
    assert alike(made["graph"], graph)
    name, *arguments = shlex.split(command, comments=True)
    done = call(*arguments, "--out", str(tmp_path / "again"))
    assert (name, done.code) == ("micrographia", 0), done.err
    assert alike(load_graph(tmp_path / "again"), graph)


def alike(a: Graph, b: Graph) -> bool:
    """The same graph, but for how long it took."""
    return (a.prompt, a.targets, a.supernodes, list(a.nodes)) == (
        b.prompt,
        b.targets,
        b.supernodes,
        list(b.nodes),
    ) and (np.allclose(a.edges.weight, b.edges.weight, rtol=1e-4, atol=1e-6))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_copied_as_python_and_shells_read_them(sheet: Open, text: str) -> None:
    page = sheet(full_graph(0, text), permissions=["clipboard-read", "clipboard-write"])
    calls = [each for each in ast.walk(ast.parse(copied(page, "Copy as Python"))) if isinstance(each, ast.Call)]
    [traced] = [each for each in calls if isinstance(each.func, ast.Attribute) and each.func.attr == "trace"]
    assert ast.literal_eval(traced.args[0]) == text
    if text.isprintable() or text == "":
        assert shlex.split(copied(page, "Copy as command"), comments=True)[2] == text


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.int64)
