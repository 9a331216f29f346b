"""Large graphs: everything is drawn, strongest first; moving about draws no edge anew; memory stays flat."""

import numpy as np

from micrographia.graph.graph import Graph, GraphTarget
from micrographia.graph.tables import EdgeTable, NodeTable
from micrographia.ids import TokenId
from micrographia.model.tokens import Prompt
from tests.browser.sheet import Open
from tests.graph.graphs import small_graph

N_LAYERS, N_POSITIONS = 26, 64


def large_graph(n_features: int = 9_935, n_edges: int = 500_000) -> Graph:
    """As many nodes and edges as a page must bear, made in a second."""
    random = np.random.default_rng(0)
    places = random.choice(N_LAYERS * N_POSITIONS * 64, n_features, replace=False)
    places.sort()
    layer, position, index = places // (N_POSITIONS * 64), places // 64 % N_POSITIONS, places % 64
    n = n_features + N_POSITIONS + 1
    nowhere = np.full(N_POSITIONS + 1, -1)

    def column(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
        return np.concatenate([inner, outer])

    influence = column(random.pareto(1.5, n_features) / n_features, np.append(random.random(N_POSITIONS), 0))
    order = np.argsort(-influence)
    curve = np.empty(n)
    curve[order] = np.cumsum(influence[order]) / influence.sum()
    numbers = [random.random(n) for _ in range(4)]
    nodes = NodeTable(
        kind=column(np.zeros(n_features), np.append(np.full(N_POSITIONS, 2), 4)).astype(np.uint8),
        layer=column(layer, nowhere),
        position=column(position, np.append(np.arange(N_POSITIONS), N_POSITIONS - 1)),
        index=column(index, np.append(np.arange(100, 100 + N_POSITIONS), 0)),
        activation=numbers[0],
        influence=influence,
        curve=curve,
        total=numbers[1],
        inputs=numbers[2],
        folded=numbers[3],
    )
    height = np.where(nodes.kind == 0, nodes.layer + 1, np.where(nodes.kind == 4, N_LAYERS + 1, 0))
    pairs = random.integers(0, n, (2, 4 * n_edges))
    pairs = np.unique(pairs[:, height[pairs[0]] < height[pairs[1]]], axis=1)
    pairs = pairs[:, np.sort(random.choice(pairs.shape[1], n_edges, replace=False))]
    pairs = pairs[:, np.lexsort((pairs[0], pairs[1]))]
    share = random.random(n_edges) ** 3 / 50
    edges = EdgeTable(pairs[0], pairs[1], random.normal(size=n_edges), share, share * random.random(n_edges))
    ids = tuple(map(TokenId, range(100, 100 + N_POSITIONS)))
    prompt = Prompt(ids, tuple(f"␣word{i}" for i in range(N_POSITIONS)), "many words", 0)
    target = GraphTarget("␣end", N_POSITIONS - 1, 1.0, 0.5, 7)
    return Graph(prompt, (target,), nodes, edges, N_LAYERS, node_share=1.0, edge_share=1.0)


def test_half_a_million_edges_are_all_drawn_and_moving_draws_none_of_them_anew(sheet: Open) -> None:
    graph = large_graph()
    page = sheet(graph)
    counts = page.counts()
    assert counts["nodes_drawn"] == len(graph.nodes) == 10_000
    assert counts["edges_drawn"] == len(graph.edges) == 500_000
    assert counts["strokes"] == 1000, "only the strongest are strokes, the others are counted per pixel"
    box = page.page.locator("#graph").bounding_box()
    assert box is not None
    x, y = box["x"] + 300, box["y"] + 200
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    for step in range(12):
        page.page.mouse.move(x + 8 * step, y + 3 * step)
    assert page.ask("window.micrographia.scene.strokes") == 1000, "the hand has not let go"
    page.page.mouse.up()
    page.until("window.micrographia.scene.strokes >= 2000")
    assert page.counts()["strokes"] == 2000
    for step in range(12):
        page.page.mouse.move(x + 11 * step, y)
    page.page.wait_for_timeout(60)
    assert page.counts()["strokes"] == 2000, "what is looked at is drawn by itself"


def test_opening_graphs_again_and_again_leaves_nothing_behind(sheet: Open) -> None:
    page = sheet(small_graph(0))
    session = page.page.context.new_cdp_session(page.page)
    session.send("Performance.enable")

    def held() -> dict[str, float]:
        session.send("HeapProfiler.collectGarbage")
        found = session.send("Performance.getMetrics")["metrics"]
        return {each["name"]: each["value"] for each in found}

    def reopen(times: int) -> None:
        for _ in range(times):
            page.ask("window.micrographia.reopen()")
            page.ready()

    reopen(20)
    before = held()
    reopen(200)
    after = held()
    assert after["JSHeapUsedSize"] < 1.2 * before["JSHeapUsedSize"] + 500_000
    assert after["Nodes"] <= 1.1 * before["Nodes"] + 50
    assert after["JSEventListeners"] <= 1.1 * before["JSEventListeners"] + 20
