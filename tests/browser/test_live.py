"""The page with a server behind it, in a real browser: everything that a model adds to it."""

import json
import threading
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from micrographia.atlas.atlas import Atlas
from micrographia.evidence.files import load_evidence
from micrographia.graph.exchange import write_graph_json
from micrographia.graph.files import load_graph
from micrographia.graph.nodes import Kind
from micrographia.server.desk import Desk
from micrographia.server.serve import Listener, listen
from micrographia.server.shelf import Shelf
from tests.browser.looking import axe, state, until
from tests.graph.graphs import HOSTILE, full_graph, small_graph
from tests.server.shelves import PROMPT, SECOND
from tests.server.speaking import running


def go_to_graph(page: Page, prompt: str = PROMPT) -> None:
    """Open a graph from the list."""
    page.get_by_role("link", name=prompt, exact=True).click()
    expect(page.locator("#graph canvas").first).to_be_visible()
    ready(page)


def ready(page: Page) -> None:
    """Wait until a graph is open."""
    until(page, lambda: state(page, "counts().nodes"))


def some_feature(folder: Path, name: str = "first") -> str:
    """A feature that moves the answer."""
    graph = load_graph(folder / name)
    inputs = graph.inputs_of("target.0")
    return next(str(edge.source) for edge in inputs if edge.source.kind == Kind.FEATURE and edge.source.position)


def choose(page: Page, node: str) -> None:
    """Choose a node as a person finds it: by its name, in the search."""
    page.get_by_role("searchbox").fill(node)
    page.get_by_role("searchbox").press("Enter")
    until(page, lambda: node in state(page, "state.selected"))


# ---------------------------------------------------------------- the list


def test_the_list_shows_every_graph_and_the_token_leaves_the_address(opened: Page, served: Listener) -> None:
    for prompt in (PROMPT, SECOND, "foreign"):
        expect(opened.get_by_role("link", name=prompt, exact=True)).to_be_visible()
    expect(opened.get_by_text("cannot be read")).to_be_visible()
    assert "token" not in opened.url
    assert served.door.token not in opened.evaluate(
        "() => document.cookie + location.href + JSON.stringify(localStorage)"
    )
    opened.reload()
    expect(opened.get_by_role("link", name=PROMPT, exact=True)).to_be_visible()


def test_a_graph_opens_and_all_of_it_is_drawn_or_counted(opened: Page, shelf_folder: Path) -> None:
    go_to_graph(opened)
    graph = load_graph(shelf_folder / "first")
    until(opened, lambda: state(opened, "counts().edges_drawn") != -1)
    counts = state(opened, "counts()")
    assert (counts["nodes"], counts["edges"]) == (len(graph.nodes), len(graph.edges))
    assert counts["nodes_drawn"] + sum(counts["nodes_hidden"].values()) == len(graph.nodes)
    assert counts["edges_drawn"] + sum(counts["edges_hidden"].values()) == len(graph.edges)


def test_a_graph_of_another_tool_is_brought_from_the_page(opened: Page, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("brought") / "theirs.json"
    write_graph_json(small_graph(4), path)
    opened.locator("input[type=file]").set_input_files(path)
    expect(opened.locator("#graph canvas").first).to_be_visible()
    ready(opened)
    assert state(opened, "counts().nodes") == len(small_graph(4).nodes)


def test_what_is_no_graph_is_refused_in_a_sentence(opened: Page, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("brought") / "none.json"
    path.write_text("[1, 2, 3]")
    opened.locator("input[type=file]").set_input_files(path)
    expect(opened.get_by_text("none.json was not taken").first).to_be_attached()


# ---------------------------------------------------------------- traces


def test_a_prompt_is_traced_from_the_page(opened: Page, shelf_folder: Path) -> None:
    opened.get_by_role("button", name="Trace a prompt").click()
    opened.get_by_label("The text that the model goes on from").fill("t2 t4 t8")
    opened.get_by_label("The token to explain").fill("t16")
    opened.get_by_text("More", exact=True).click()
    opened.get_by_label("Features at most").fill("30")
    opened.get_by_role("button", name="Trace", exact=True).click()
    until(opened, lambda: "/graph/" in opened.url)
    ready(opened)
    graph = load_graph(shelf_folder / "t2-t4-t8")
    assert state(opened, "counts().nodes") == len(graph.nodes)
    assert [target.name for target in graph.targets] == ["t16"]


def test_whoever_looks_at_a_graph_stays_there_while_another_is_traced(opened: Page) -> None:
    go_to_graph(opened)
    address = opened.url
    opened.get_by_role("button", name="New trace").click()
    opened.get_by_label("The text that the model goes on from").fill("t6 t3")
    opened.get_by_role("button", name="Trace", exact=True).click()
    done = opened.locator("[data-run=done]")
    expect(done).to_contain_text("is there")
    assert opened.url == address
    done.get_by_role("link", name="Open").click()
    ready(opened)
    assert opened.url != address


def test_a_trace_that_cannot_be_done_says_why_and_can_be_taken_away(opened: Page) -> None:
    opened.get_by_role("button", name="Trace a prompt").click()
    opened.get_by_label("The text that the model goes on from").fill("t2")
    opened.get_by_label("The token to explain").fill("no such token")
    opened.get_by_role("button", name="Trace", exact=True).click()
    expect(opened.locator("[data-run=failed]")).to_contain_text("not one")
    opened.get_by_role("button", name="Take this away").click()
    expect(opened.locator("[data-run]")).to_have_count(0)


def test_work_that_waits_is_stopped_from_the_page(opened: Page, desk: Desk) -> None:
    held = threading.Event()
    desk.worker.ask(held.wait)
    try:
        opened.get_by_role("button", name="Trace a prompt").click()
        opened.get_by_label("The text that the model goes on from").fill("t2 t3")
        opened.get_by_role("button", name="Trace", exact=True).click()
        expect(opened.locator("[data-run=works]")).to_contain_text("waits")
        opened.get_by_role("button", name="Stop").click()
        expect(opened.locator("[data-run=stopped]")).to_be_visible()
    finally:
        held.set()


# ---------------------------------------------------------------- what if


def test_a_what_if_shows_the_prediction_at_once_and_the_models_answer_behind_it(
    opened: Page, shelf_folder: Path, looking
) -> None:
    go_to_graph(opened)
    node = some_feature(shelf_folder)
    choose(opened, node)
    slider = opened.get_by_role("slider", name="Its activation, as a multiple of what it is")
    slider.fill("0")
    expect(opened.locator(".predicted")).to_contain_text("The graph predicts")
    said = opened.locator("[data-measured]")
    expect(said).to_contain_text("on the real model")
    mine = next(w for w in looking.what_if(PROMPT, f"{node}=x0", tokens=["t13"]).words if w.piece == "t13")
    assert float(said.get_attribute("data-measured")) == pytest.approx(mine.logit, rel=1e-6)
    slider.fill("2")
    more = next(w for w in looking.what_if(PROMPT, f"{node}=x2", tokens=["t13"]).words if w.piece == "t13")
    until(opened, lambda: float(said.get_attribute("data-measured") or "nan") == pytest.approx(more.logit, rel=1e-6))


# ---------------------------------------------------------------- evidence


def test_claims_are_tested_live_and_verdicts_reach_the_graph(opened: Page, shelf_folder: Path) -> None:
    go_to_graph(opened)
    opened.get_by_role("button", name="Claims").click()
    opened.get_by_label("Seconds").fill("12")
    opened.get_by_role("button", name="Test", exact=True).click()
    tested = opened.locator("[data-claim][data-verdict]:not([data-verdict=untested])")
    expect(tested.first).to_be_visible()
    expect(opened.get_by_role("button", name="Test on")).to_be_visible()
    known = load_evidence(load_graph(shelf_folder / "first"), shelf_folder / "first")
    assert known is not None
    shown = opened.eval_on_selector_all("[data-claim]", "rows => rows.map(r => [r.dataset.claim, r.dataset.verdict])")
    everything = (*known.tested, *known.inside)
    assert dict(map(tuple, shown)) == {one.claim.key: one.judgement.verdict for one in everything}
    assert known.inside
    opened.keyboard.press("Escape")
    opened.reload()
    ready(opened)
    assert state(opened, "graph.evidence.value.claims.length") == len(known.claims)


def test_a_test_is_stopped_and_what_was_measured_stays(opened: Page, shelf_folder: Path) -> None:
    go_to_graph(opened)
    opened.get_by_role("button", name="Claims").click()
    opened.get_by_label("Seconds").fill("600")
    opened.get_by_role("button", name="Test", exact=True).click()
    expect(opened.locator("[data-claim]").first).to_be_attached()
    opened.locator("dialog").get_by_role("button", name="Stop").click()
    expect(opened.locator("[data-run=stopped]")).to_be_attached()
    assert load_evidence(load_graph(shelf_folder / "first"), shelf_folder / "first") is not None


# ---------------------------------------------------------------- kept


def test_groups_are_kept_by_the_server(opened: Page, shelf_folder: Path) -> None:
    go_to_graph(opened)
    node = some_feature(shelf_folder)
    choose(opened, node)
    opened.locator("#graph").press("g")
    opened.locator("dialog input").fill(HOSTILE[0])
    opened.locator("dialog button[type=submit]").click()
    until(opened, lambda: HOSTILE[0] in [group.name for group in load_graph(shelf_folder / "first").supernodes])
    assert opened.locator("img").count() == 0


def test_two_tabs_work_on_the_same_graph(opened: Page, context: BrowserContext, shelf_folder: Path) -> None:
    go_to_graph(opened)
    other = context.new_page()
    other.goto(opened.url)
    ready(other)
    node = some_feature(shelf_folder)
    for page in (opened, other):
        choose(page, node)
        page.get_by_role("slider", name="Its activation, as a multiple of what it is").fill("0")
    for page in (opened, other):
        page.bring_to_front()
        expect(page.locator("[data-measured]")).to_be_visible()


def test_a_server_that_ends_and_begins_anew_is_noticed_and_the_view_stays(
    seen: Page, context: BrowserContext, shelf_folder: Path, looking
) -> None:
    first = listen(0)
    port = first.door.port
    with running(Desk(Shelf(shelf_folder), lambda name, _: looking), first):
        seen.goto(first.door.address)
        go_to_graph(seen)
        node = some_feature(shelf_folder)
        choose(seen, node)
        address = seen.url
    expect(seen.locator("[data-lost]")).to_contain_text("does not answer")
    second = listen(port)
    with running(Desk(Shelf(shelf_folder), lambda name, _: looking), second):
        expect(seen.locator("[data-lost]")).to_contain_text("started anew")
        assert state(seen, "state.selected") == [node]
        elsewhere = context.new_page()
        elsewhere.goto(second.door.address)
        expect(elsewhere.get_by_role("link", name=PROMPT, exact=True)).to_be_visible()
        elsewhere.close()
        expect(seen.locator("[data-lost]")).to_have_count(0)
        seen.goto(address)
        seen.reload()
        ready(seen)
        assert state(seen, "state.selected") == [node]


def test_the_file_that_the_server_makes_opens_with_the_view_as_it_is(opened: Page, shelf_folder: Path) -> None:
    go_to_graph(opened)
    choose(opened, some_feature(shelf_folder))
    opened.locator("#graph").press("p")
    wanted = opened.evaluate("() => JSON.stringify(window.micrographia.state)")
    opened.keyboard.press("e")
    with opened.expect_download() as coming:
        opened.get_by_role("button", name="HTML", exact=True).click()
    path = shelf_folder / "exported.html"
    coming.value.save_as(path)
    opened.goto(path.as_uri())
    ready(opened)
    until(opened, lambda: state(opened, "state.pinned"))
    assert opened.evaluate("() => JSON.stringify(window.micrographia.state)") == wanted


# ---------------------------------------------------------------- attention, comparison


def test_the_attention_page_sorts_all_heads_and_shows_one(opened: Page, looking, modules: Path) -> None:
    go_to_graph(opened)
    opened.get_by_role("link", name="Attention").click()
    heads = opened.locator("[data-head]")
    expect(heads.first).to_be_visible()
    a = looking.model.anatomy
    assert heads.count() == a.n_layers * a.n_heads
    scores = looking.heads(PROMPT)
    for score in ("induction", "previous"):
        opened.get_by_label("Sorted by").select_option(score)
        layer, head = scores.top(score, 1)[0]
        expect(heads.first).to_have_attribute("data-head", f"{layer}.{head}")
    heads.first.click()
    expect(opened.get_by_role("heading", name=f"Layer {layer}, head {head}")).to_be_visible()
    expect(opened.get_by_role("heading", name="Reads")).to_be_visible()
    assert opened.url.endswith(f"#{layer}.{head}")
    opened.reload()
    expect(opened.get_by_role("heading", name=f"Layer {layer}, head {head}")).to_be_visible()
    assert axe(opened, modules) == []


def test_the_heads_that_carry_an_edge_add_up_to_it(opened: Page, shelf_folder: Path) -> None:
    go_to_graph(opened)
    choose(opened, some_feature(shelf_folder))
    opened.get_by_label("Which edge").select_option(index=1)
    rows = opened.locator("[data-carrier]")
    expect(opened.locator("[data-carrier=edge]")).to_be_visible()
    cells = rows.evaluate_all("rows => rows.map(r => [r.dataset.carrier, r.cells[2].textContent])")
    shares = {name: float(text.rstrip("%").replace("−", "-").strip("<>")) for name, text in cells}
    assert shares["edge"] == pytest.approx(100.0, abs=0.1)
    assert sum(value for name, value in shares.items() if name != "edge") == pytest.approx(100.0, abs=1.0)


def test_two_graphs_stand_side_by_side_with_their_differences(opened: Page, shelf_folder: Path, modules: Path) -> None:
    opened.locator(".graph-row", has_text=PROMPT).get_by_role("button", name="compare with").click()
    opened.locator(".graph-row", has_text=SECOND).get_by_role("link", name="compare").click()
    one, two = load_graph(shelf_folder / "first"), load_graph(shelf_folder / "more" / "second")
    opened.get_by_label("The same node is").select_option("feature")
    halves = opened.locator("[data-half]")
    expect(halves).to_have_count(2)

    def features(graph) -> set[tuple[int, int]]:
        return {(node.layer, node.index) for node in graph.nodes if node.kind == Kind.FEATURE}

    for number, (mine, other) in enumerate(((one, two), (two, one))):
        own = sum((n.layer, n.index) not in features(other) for n in mine.nodes if n.kind == Kind.FEATURE)
        shown = int(halves.nth(number).get_attribute("data-own-nodes"))
        assert own <= shown <= own + len(mine.prompt) + mine.n_layers + 1
    expect(opened.get_by_role("heading", name="What differs most")).to_be_visible()
    assert axe(opened, modules) == []


# ---------------------------------------------------------------- features


def test_features_are_found_looked_at_and_named(
    opened: Page, desk: Desk, served: Listener, atlas: Atlas, modules: Path
) -> None:
    assert desk._opening is not None
    desk._opening.result(60)
    desk.instruments.atlas = atlas
    opened.goto(f"{served.door.origins[0]}/features")
    layer = int(atlas.layers[-1])
    opened.get_by_label("Layer").fill(str(layer))
    opened.get_by_label("Layer").press("Enter")
    expect(opened.get_by_role("status").first).to_contain_text(f"{atlas.n_features(layer)} features")
    assert axe(opened, modules) == []
    opened.get_by_role("link", name=f"{layer}/3", exact=True).click()
    expect(opened.get_by_role("heading", name=f"Feature {layer}/3")).to_be_visible()
    expect(opened.get_by_text(f"Over {atlas.n_positions:,} positions of text")).to_be_visible()
    opened.get_by_label("Your own label").fill(HOSTILE[0])
    opened.get_by_role("button", name="Keep").click()
    expect(opened.get_by_text("Kept.")).to_be_visible()
    expect(opened.locator("[data-label]")).to_have_text(HOSTILE[0])
    opened.reload()
    expect(opened.locator("[data-label]")).to_have_text(HOSTILE[0])
    assert opened.locator("img").count() == 0
    assert axe(opened, modules) == []
    opened.get_by_label("Your own label").fill("")
    opened.get_by_role("button", name="Keep").click()
    expect(opened.locator("[data-label]")).to_have_text("no label")


def test_what_is_typed_stays_when_an_answer_comes_in(opened: Page, served: Listener) -> None:
    opened.route("**/api/features?*", lambda asked: answered_late(asked, opened))
    opened.goto(f"{served.door.origins[0]}/features")
    opened.get_by_label("Label has").fill("half a wo")
    expect(opened.get_by_role("status").first).to_contain_text("0 features")
    assert opened.get_by_label("Label has").input_value() == "half a wo"


def answered_late(asked: Route, page: Page) -> None:
    page.wait_for_timeout(800)
    asked.fulfill(json={"total": 0, "rows": []})


# ---------------------------------------------------------------- for everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_live_pages_can_be_used_by_everybody(opened: Page, scheme: str, modules: Path) -> None:
    opened.emulate_media(color_scheme=scheme)
    assert axe(opened, modules) == []
    opened.get_by_role("button", name="Trace a prompt").click()
    assert axe(opened, modules) == []
    opened.keyboard.press("Escape")
    go_to_graph(opened)
    assert axe(opened, modules) == []
    opened.get_by_role("button", name="Claims").click()
    assert axe(opened, modules) == []


def test_hostile_texts_are_only_texts(seen: Page, shelf_folder: Path, looking, desk: Desk, served: Listener) -> None:
    for number, text in enumerate(HOSTILE):
        write_graph_json(full_graph(text=text), shelf_folder / f"hostile{number}.json")
    seen.goto(served.door.address)
    expect(seen.locator(".graph-row").first).to_be_visible()
    rows = seen.locator(".graph-row")
    assert rows.count() == 4 + len(HOSTILE)
    for number in range(len(HOSTILE)):
        row = seen.locator(".graph-row", has_text=f"hostile{number}.json")
        address = row.locator("a").first.get_attribute("href")
        page = seen.context.new_page()
        page.goto(served.door.origins[0] + address)
        ready(page)
        assert page.evaluate("() => document.querySelectorAll('img, iframe, object').length") == 0
        page.close()


def test_a_narrow_screen_shows_the_list_without_scrolling_sideways(opened: Page) -> None:
    opened.set_viewport_size({"width": 390, "height": 844})
    expect(opened.get_by_role("link", name=PROMPT, exact=True)).to_be_visible()
    assert opened.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert json.dumps(state(opened, "state")) != "null"
