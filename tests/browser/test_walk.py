"""What a person does with a graph: look, choose, pin, group, label, hide, search, take back."""

import numpy as np
import pytest

from micrographia.evidence.claims import Predictor
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from tests.browser.sheet import Open, Sheet
from tests.graph.graphs import full_graph, small_graph


def strongest(graph: Graph, n: int = 1) -> list[str]:
    features = np.flatnonzero(graph.nodes.kind == Kind.FEATURE)
    order = features[np.argsort(-graph.nodes.influence[features], kind="stable")]
    return [str(graph.nodes.id(int(i))) for i in order[:n]]


def totals(sheet: Sheet) -> tuple[int, int]:
    """Nodes and edges drawn and hidden, added up."""
    counts = sheet.counts()
    hidden = [counts["nodes_hidden"], counts["edges_hidden"]]
    nodes, edges = (sum(each.values()) for each in hidden if isinstance(each, dict))
    drawn_nodes, drawn_edges = counts["nodes_drawn"], counts["edges_drawn"]
    assert isinstance(drawn_nodes, int)
    assert isinstance(drawn_edges, int)
    return drawn_nodes + nodes, drawn_edges + edges


FILTERS = {
    "nothing": [],
    "errors": ["button:has-text('errors')"],
    "signs": ["button:has-text('takes away')"],
    "kinds and signs": ["button:has-text('errors')", "button:has-text('bias')", "button:has-text('+ adds')"],
    "features": ["button:has-text('features')"],
}


@pytest.mark.parametrize("clicks", FILTERS.values(), ids=FILTERS)
def test_what_is_drawn_and_what_is_hidden_add_up_to_the_file(sheet: Open, clicks: list[str]) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    for selector in clicks:
        page.page.locator(f".filters {selector}").click()
    assert totals(page) == (len(graph.nodes), len(graph.edges))
    hidden = page.text(".filters .hidden")
    assert f"of {len(graph.nodes)} nodes" in hidden
    assert ("hidden:" in hidden) == bool(clicks)


def test_each_slider_hides_the_weakest_and_says_how_many(sheet: Open) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    for name, key in (("Nodes", "nodes_hidden"), ("Edges", "edges_hidden")):
        page.page.locator(f".slider:has-text('{name}') input").fill("40")
        hidden = page.counts()[key]
        assert isinstance(hidden, dict)
        assert hidden["share"] > 0
        assert totals(page) == (len(graph.nodes), len(graph.edges))
    shown = set(
        page.ask("[...window.micrographia.graph.names].filter((_, i) => !window.micrographia.visible.nodes[i])")
    )
    limit = 0.4 * (graph.node_share or 1.0)
    inner = graph.nodes.kind <= Kind.ERROR
    wanted = {str(graph.nodes.id(int(i))) for i in np.flatnonzero(~inner | (graph.nodes.curve <= np.float32(limit)))}
    assert shown == wanted
    page.page.locator("button:has-text('show all')").click()
    assert page.counts()["nodes_drawn"] == len(graph.nodes)


def test_columns_and_layers_can_be_hidden(sheet: Open) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    page.page.get_by_label("First layer").fill("2")
    page.page.locator(".pop summary").click()
    page.page.locator(".pop input").nth(1).uncheck()
    counts = page.counts()["nodes_hidden"]
    assert isinstance(counts, dict)
    low = (graph.nodes.kind <= Kind.ERROR) & (graph.nodes.layer < 2)
    assert counts["layer"] == int(low.sum())
    assert counts["position"] == int((~low & (graph.nodes.position == 1)).sum())
    assert totals(page) == (len(graph.nodes), len(graph.edges))


def test_hover_looks_click_chooses_shift_adds_escape_goes_back(sheet: Open) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    first, second = strongest(graph, 2)
    page.hover(first)
    assert first in page.text(".tip")
    page.until(f"document.querySelector('.detail').textContent.includes('{first}')")
    assert page.state("selected") == []
    page.click(first)
    page.click(second, add=True)
    assert page.state("selected") == [first, second]
    page.away()
    page.key("Escape")
    assert page.state("selected") == []


def test_connections_are_the_nodes_edges_heaviest_first(sheet: Open) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    name = strongest(graph)[0]
    page.click(name)
    page.away()
    sides = [
        page.page.locator(".column").nth(i).locator("button.line").evaluate_all("all => all.map(e => e.dataset.node)")
        for i in range(2)
    ]
    inputs = sorted(graph.inputs_of(name), key=lambda edge: -edge.share)
    outputs = sorted(graph.outputs_of(name), key=lambda edge: -edge.share)
    assert sides[0] == [str(edge.source) for edge in inputs][:40]
    assert sides[1] == [str(edge.target) for edge in outputs][:40]


def test_pinning_grouping_and_dissolving(sheet: Open) -> None:
    graph = small_graph(0)
    page = sheet(graph)
    first, second = strongest(graph, 2)
    page.click(first)
    page.key("p")
    assert page.state("pinned") == [first]
    assert page.page.locator(f'[data-box="{first}"]').count() == 1
    page.click(second, add=True)
    page.key("g")
    page.answer("the two")
    assert page.ask("window.micrographia.state.groups.at(-1).members") == [first, second]
    assert "the two" in page.text(".subgraph svg")
    page.key("Shift+G")
    assert "the two" not in page.text(".subgraph svg")
    page.key("Control+z")
    assert "the two" in page.text(".subgraph svg")


def test_a_label_of_ones_own_goes_before_that_of_the_file_and_can_be_taken_away(sheet: Open) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    name = str(graph.nodes.id(0))
    page.click(name)
    page.key("l")
    page.answer("my word")
    page.away()
    assert "my word" in page.text(".detail h2")
    assert "The file says: France" in page.text(".detail .own")
    page.key("l")
    page.answer("")
    assert "France" in page.text(".detail h2")
    assert page.state("labels") == {}


def test_hiding_one_node_is_counted_and_undone(sheet: Open) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    page.click(strongest(graph)[0])
    page.key("x")
    assert page.counts()["nodes_drawn"] == len(graph.nodes) - 1
    assert "by hand 1" in page.text(".filters .hidden")
    page.key("Control+z")
    assert page.counts()["nodes_drawn"] == len(graph.nodes)
    page.key("Control+y")
    assert page.counts()["nodes_drawn"] == len(graph.nodes) - 1


def test_search_finds_names_labels_and_promoted_tokens(sheet: Open) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    page.key("/")
    page.page.keyboard.type("constant")
    assert page.text(".found") == "1 node"
    page.page.get_by_role("searchbox").fill("france1")
    assert graph.promoted is not None
    pieces = graph.promoted.pieces
    wanted = sum(
        any("france1" in pieces[int(t)].lower() for t in (*graph.promoted.tokens[i], *graph.promoted.suppressed[i]))
        for i in range(len(graph.promoted.tokens))
    )
    assert page.text(".found").startswith(f"{wanted} node")
    page.key("Enter")
    assert len(page.ask("window.micrographia.state.selected")) == wanted


def test_escape_leaves_the_search_and_then_forgets_it(sheet: Open) -> None:
    page = sheet(full_graph(0))
    field = page.page.get_by_role("searchbox")
    page.key("/")
    page.page.keyboard.type("constant")
    page.key("Escape")
    assert (field.input_value(), page.state("query")) == ("constant", "constant")
    assert page.ask("document.activeElement === document.body")
    page.key("Escape")
    assert (field.input_value(), page.state("query")) == ("", "")
    assert page.page.locator(".found").count() == 0


def test_a_reloaded_page_shows_the_same(sheet: Open) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    page.click(strongest(graph)[0])
    page.key("p")
    page.page.locator(".filters button:has-text('errors')").click()
    page.page.locator(".slider:has-text('Edges') input").fill("70")
    before, counts = page.ask("JSON.stringify(window.micrographia.state)"), page.counts()
    page.page.reload()
    assert page.counts() == {**counts, "strokes": page.counts()["strokes"]}
    assert page.ask("JSON.stringify(window.micrographia.state)") == before


def test_a_saved_view_is_shown_again(sheet: Open) -> None:
    page = sheet(full_graph(0))
    page.click(strongest(full_graph(0))[0])
    page.key("p")
    kept = page.ask("JSON.stringify(window.micrographia.state)")
    page.key("v")
    page.page.get_by_role("button", name="Save this view").click()
    page.answer("one pinned")
    page.key("v")
    page.page.get_by_role("button", name="The graph as it came").click()
    assert page.state("pinned") == []
    page.page.reload()
    page.ready()
    page.key("v")
    page.page.get_by_role("button", name="one pinned", exact=True).click()
    assert page.ask("JSON.stringify(window.micrographia.state)") == kept


def test_an_address_that_was_meddled_with_opens_the_graph_as_it_came(sheet: Open, tmp_path: object) -> None:
    graph = full_graph(0)
    page = sheet(graph)
    for odd in ("#zzzz", "#eyJzZWxlY3RlZCI6NX0", "#eyJmaWx0ZXJzIjp7ImxheWVycyI6WyJhIl19fQ", "#bnVsbA"):
        page.page.goto(page.page.url.split("#")[0] + odd)
        page.page.reload()
        assert page.counts()["nodes_drawn"] == len(graph.nodes)


def test_of_each_layer_one_canvas_is_seen_whatever_the_size(sheet: Open) -> None:
    page = sheet(full_graph(0))
    for height in (860, 700, 760):
        page.page.set_viewport_size({"width": 1280, "height": height})
        page.page.wait_for_timeout(300)
        page.ready()
        seen = page.ask("[...document.querySelectorAll('#graph canvas')].map(c => [c.className, c.checkVisibility()])")
        assert isinstance(seen, list)
        names = [name for name, is_seen in seen if is_seen]
        assert len(names) == len(set(names)) == len(seen) / 2


def test_a_full_cell_is_a_stack_that_fans_out(sheet: Open) -> None:
    from micrographia.graph.build import graph_of
    from tests.graph.traces import random_trace

    graph = graph_of(random_trace(0, n_layers=2, per_layer=90, n_positions=2), node_share=1.0, edge_share=1.0)
    page = sheet(graph, viewport={"width": 950, "height": 800})
    stacks = page.ask("window.micrographia.scene.place.stacks.map(s => [s.x, s.y, s.nodes.length])")
    assert isinstance(stacks, list)
    assert stacks
    assert totals(page) == (len(graph.nodes), len(graph.edges))
    x, y = page.ask(
        "([x, y]) => (c => [x * c.k + c.x, y * c.k + c.y])(window.micrographia.scene.camera)", stacks[0][:2]
    )
    box = page.page.locator("#graph").bounding_box()
    assert box is not None
    page.page.mouse.click(box["x"] + x, box["y"] + y)
    page.until(f"window.micrographia.scene.place.stacks.length < {len(stacks)}")
    assert page.counts()["nodes_drawn"] == len(graph.nodes)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_prediction_of_a_what_if_is_that_of_the_evidence_room(sheet: Open, seed: int) -> None:
    graph = small_graph(seed)
    page = sheet(graph)
    oracle = Predictor(graph, "target.0")
    for name in strongest(graph, 4):
        page.click(name)
        page.away()
        page.page.locator(".what-if input[type=range]").fill("0")
        found = page.text(".predicted")
        said = float(found.split("predicts ")[1].split(" ")[0].replace("−", "-").replace(",", ""))
        wanted = oracle.total(np.array([graph.nodes.find(name)]))
        assert said == pytest.approx(wanted, rel=6e-3, abs=1e-4)
        page.page.locator(".what-if button:has-text('reset')").click()
