"""The tree with verdicts: one mark for each part, its figures, and the sums below."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from micrographia.evidence.claims import claims_of
from micrographia.evidence.evidence import Evidence, Measured
from micrographia.graph.graph import Graph, NodeLabel, Supernode
from micrographia.graph.nodes import Kind
from micrographia.report.verdicts import verdicts
from tests.graph.graphs import HOSTILE, full_graph, small_graph

NEAR = tuple(np.linspace(-1, 1, 99).tolist())


def on(graph: Graph, n: int = 3) -> Evidence:
    """The first claim as predicted, the second the other way, the third too near its controls."""
    claims = claims_of(graph)
    effects = (9.0 * claims[0].sign, -9.0 * claims[1].sign, 0.01 * claims[2].sign)
    measured = {
        claim.name: Measured(effect, 0.4, NEAR, 0.1) for claim, effect in zip(claims[:n], effects, strict=False)
    }
    return Evidence(claims[0].target, graph.targets[0].name, 3.5, 0.8, claims, measured, family=n)


def shown(graph: Graph, evidence: Evidence, width: int = 80, parts: int = 24) -> list[str]:
    console = Console(width=width, file=io.StringIO(), highlight=False, markup=False, emoji=False)
    console.print(verdicts(graph, evidence, width, parts=parts))
    return console.file.getvalue().splitlines()


def test_each_part_has_its_mark_its_prediction_and_what_was_measured() -> None:
    graph = small_graph(0, node_share=1.0)
    evidence = on(graph)
    lines = shown(graph, evidence, parts=100)
    assert lines[0].startswith(f"Without each part, {graph.targets[0].name} changes by so much.")
    assert lines[lines.index("") + 1].split() == ["share", "what", "predicted", "measured", "controls", "n"]
    marks = {claim.name: next(line for line in lines if f" {claim.name} " in line) for claim in evidence.claims}
    first, second, third = evidence.claims[:3]
    assert marks[first.name].startswith("✓")
    assert "9.00 −0.95 … +0.95 99" in marks[first.name]
    assert marks[second.name].startswith("✗")
    assert marks[third.name].startswith("✗")
    assert all(marks[claim.name].startswith(" ") for claim in evidence.claims[3:]), "what was not tried has no mark"
    assert any("token" not in line and line.startswith(" ") and "└" in line for line in lines), "tokens have no mark"


def test_the_sums_below_say_how_much_was_confirmed_and_how_well_it_was_predicted() -> None:
    graph = small_graph(0, node_share=1.0)
    text = " ".join(shown(graph, on(graph)))
    assert "✓ 1 confirmed" in text
    assert "✗ 2 refuted" in text
    assert "· 0 undecided" in text
    assert f", {len(on(graph).claims) - 3} not tried" in text
    assert "Predicted by all paths: 3 claims tried, the sign right in 66.7%; correlation" in text
    assert "5.0% may be so by chance" in text
    assert "Predicted by all paths" not in " ".join(shown(graph, on(graph, 1)))


def test_what_was_tested_and_is_not_in_the_tree_stands_below_it_what_is_confirmed_first() -> None:
    graph = small_graph(0, node_share=1.0)
    evidence = on(graph)
    lines = shown(graph, evidence, parts=1)
    below = lines.index("Tested as well, 0 more besides")
    marks = [line.split()[:2] for line in lines[below + 1 : below + 4]]
    assert marks == [[mark, claim.name] for mark, claim in zip("✓✗✗", evidence.claims, strict=False)]
    assert not any("Tested as well" in line for line in shown(graph, evidence, parts=100))


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_into_the_terminal(width: int) -> None:
    graph = small_graph(2, node_share=1.0)
    assert max(cell_len(line) for line in shown(graph, on(graph), width)) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_a_part_is_called_what_its_feature_is_called(width: int) -> None:
    graph = replace(small_graph(0, node_share=1.0), supernodes=())
    name = on(graph).claims[0].members[0]
    label = NodeLabel("years [bold]", "input", 0.93, "rule", True)
    lines = shown(replace(graph, labels={name: label}), on(graph), width, parts=100)
    assert any(f"{name} “years [bold]” .93" in line for line in lines)
    assert max(cell_len(line) for line in lines) <= width


def test_a_group_is_one_line_and_what_does_not_fit_is_counted() -> None:
    graph = small_graph(0, node_share=1.0)
    members = tuple(node for node in graph.nodes if node.kind == Kind.FEATURE and node.position == 1)[:2]
    graph = graph.grouped([Supernode("pair", members, "because")])
    evidence = on(graph)
    lines = shown(graph, evidence, parts=100)
    [pair] = [line for line in lines if "pair ×2" in line]
    assert pair[0] in "✓✗·"
    assert not any(f" {member} " in line for member in members for line in lines)
    assert any("more; --top shows them." in line for line in shown(graph, evidence, parts=1))
    assert "probability" not in " ".join(shown(graph, replace(evidence, probability=None)))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_steer_no_terminal(text: str) -> None:
    graph = replace(full_graph(text=text), supernodes=())
    evidence = Evidence(claims_of(graph)[0].target, text, 3.5, None, claims_of(graph), {})
    assert all(c.isprintable() for line in shown(graph, evidence) for c in line)
