"""What tests said stands wherever the thing that was tested stands: at nodes, edges, groups, in the books."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from micrographia.evidence.claims import Claim, claims_of
from micrographia.evidence.evidence import Evidence, Measured
from micrographia.evidence.links import links_of
from micrographia.graph.graph import Graph, Supernode
from tests.browser.sheet import Open
from tests.browser.test_access import AXE
from tests.browser.test_exports import rows
from tests.graph.graphs import small_graph


def two_groups() -> Graph:
    """All nodes of a small trace, and two groups of which one moves the other."""
    graph = small_graph(3, node_share=1.0, edge_share=1.0)
    features = [graph.nodes.id(i) for i in range(graph.nodes.spans["feature"].stop)]
    low, high = (tuple(node for node in features if node.layer == layer)[:3] for layer in (0, 2))
    return graph.grouped([Supernode("low", low, "x"), Supernode("high", high, "y")])


def told(graph: Graph) -> Evidence:
    """Evidence in which every second claim of each kind came true, and the others came out the other way."""
    claims = claims_of(graph)
    links = links_of(graph, claims)
    kinds = [claims, *([c for c in links if c.kind == kind] for kind in ("group", "paths", "direct"))]
    measured = {claim.key: as_said(claim, number % 2 == 0) for some in kinds for number, claim in enumerate(some)}
    return Evidence(claims[0].target, "x", 1.0, 0.5, claims, measured, links=links)


def as_said(claim: Claim, holds: bool) -> Measured:
    size = abs(claim.predicted) + 0.01
    spread = tuple(np.linspace(-0.01 * size, 0.01 * size, 40).tolist())
    return Measured(size * claim.sign * (1 if holds else -1), None, spread, 0.1)


@pytest.fixture
def graph() -> Graph:
    return two_groups()


@pytest.fixture
def evidence(graph: Graph) -> Evidence:
    found = told(graph)
    assert {one.judgement.verdict for one in found.inside} == {"confirmed", "refuted"}
    return found


def edge_of(claim: Claim) -> tuple[str, str]:
    return str(claim.members[0]), str(claim.reads[0])


def test_every_edge_that_was_tested_says_so_beside_its_other_end(sheet: Open, graph: Graph, evidence: Evidence) -> None:
    page = sheet(graph, evidence=evidence)
    for one in evidence.of("paths")[:4]:
        source, target = edge_of(one.claim)
        page.page.get_by_role("searchbox").fill(source)
        page.page.get_by_role("searchbox").press("Enter")
        page.page.keyboard.press("Escape")
        line = page.page.locator(f'.column:last-child [data-node="{target}"]')
        assert line.locator(".of-edge .unseen").inner_text() == f"edge {one.judgement.verdict}"
        assert "Along edges, directly" in (line.locator(".of-edge").get_attribute("title") or "")


def test_the_table_of_edges_says_it_and_so_does_what_is_copied_from_it(
    sheet: Open, graph: Graph, evidence: Evidence, tmp_path: Path
) -> None:
    page = sheet(graph, evidence=evidence)
    found = rows(page.export("TSV of edges", tmp_path / "e.tsv"))
    said = {(row["source"], row["target"]): row["verdict"] for row in found if row["verdict"]}
    assert said == {edge_of(one.claim): one.judgement.verdict for one in evidence.of("paths")}
    assert len(found) == len(graph.edges)


def test_groups_that_move_each_other_are_marked_in_the_subgraph(sheet: Open, graph: Graph, evidence: Evidence) -> None:
    page = sheet(graph, evidence=evidence)
    marks = page.page.locator("[data-link]")
    [one] = evidence.of("group")
    assert [str(one.claim.name), str(one.claim.to)] == ["low", "high"]
    assert marks.count() == 1
    assert one.judgement.verdict in (marks.first.locator("title").text_content() or "")


def test_the_strip_and_the_books_count_every_claim(
    sheet: Open, graph: Graph, evidence: Evidence, modules: Path
) -> None:
    page = sheet(graph, evidence=evidence)
    inside = [one.judgement.verdict for one in evidence.inside]
    answer = evidence.counts
    assert page.text(".tests").split() == (
        f"claims ✓ {answer['confirmed']} ✗ {answer['refuted']} · inside "
        f"✓ {inside.count('confirmed')} ✗ {inside.count('refuted')}".split()
    )
    page.page.locator(".ledger summary").click()
    table = page.page.locator(".books table", has_text="What tests on the real model said")
    counted = table.locator("tbody tr").evaluate_all(
        "rows => rows.map(r => [...r.cells].slice(1, 4).map(c => +c.innerText))"
    )
    kinds = ("answer", "group", "paths", "direct")
    assert counted == [list(evidence.counted(kind).values()) for kind in kinds]
    page.page.evaluate((modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    assert page.ask(AXE) == []


def test_what_was_measured_without_a_verdict_is_undecided_and_the_rest_untested(
    sheet: Open, graph: Graph, evidence: Evidence
) -> None:
    left, undecided = (edge_of(evidence.of("paths")[k].claim) for k in (1, 0))
    measured = {
        one.claim.key: replace(one.measured, controls=one.measured.controls[:2])
        for one in evidence.inside
        if one.measured is not None and edge_of(one.claim) != left
    }
    page = sheet(graph, evidence=replace(evidence, measured=measured))
    for (source, target), word in ((undecided, "undecided"), (left, "untested")):
        page.click(source)
        page.away()
        if not page.page.locator(".inside[open]").count():
            page.page.locator(".inside summary").click()
        said = page.page.locator(".inside .claim", has_text=target).filter(has_text="all paths")
        assert said.locator("strong").first.inner_text() == f"· {word}"


def test_a_node_lists_claims_about_the_inside(sheet: Open, graph: Graph, evidence: Evidence, modules: Path) -> None:
    page = sheet(graph, evidence=evidence)
    name = edge_of(evidence.of("paths")[0].claim)[0]
    page.click(name)
    page.away()
    page.page.locator(".inside summary").click()
    mine = [one for one in evidence.inside if name in map(str, (*one.claim.members, *one.claim.reads))]
    assert page.page.locator(".inside .claim").count() == len(mine)
    page.page.evaluate((modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    assert page.ask(AXE) == []
