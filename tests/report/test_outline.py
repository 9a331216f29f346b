"""The outline against what its edges and influences say when each is looked at by itself."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.graph.graph import Graph, Supernode
from micrographia.graph.nodes import Kind
from micrographia.report.outline import Branch, Part, outline, parts_of
from tests.graph.graphs import full_graph, small_graph

SEEDS = st.integers(0, 200)


def everything(seed: int) -> Graph:
    """A graph that shows all of its trace, so that edges account for all influence."""
    return small_graph(seed, node_share=1.0, edge_share=1.0)


def grouped(graph: Graph) -> Graph:
    """With groups over several layers, one of them with only one member."""
    features = [graph.nodes.id(i) for i in range(graph.nodes.spans["feature"].stop) if graph.nodes.position[i] > 0]
    groups = [Supernode("first", tuple(features[::3]), "r"), Supernode("second", tuple(features[1::3][:2]), "r")]
    return graph.grouped(group for group in groups if group.members)


def walked(branch: Branch, above: Part | None = None) -> Iterator[tuple[Part, Part | None]]:
    yield branch.part, above
    for child in branch.children:
        yield from walked(child, branch.part)


def flow(graph: Graph, source: Part, target: Part) -> float:
    e = graph.edges
    between = np.isin(e.source, source.members) & np.isin(e.target, target.members)
    return float(e.score[between].sum())


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_every_node_of_any_influence_is_in_exactly_one_part(seed: int) -> None:
    graph = grouped(everything(seed))
    parts = parts_of(graph)
    members = sorted(node for part in parts for node in part.members)
    assert len(members) == len(set(members))
    left_out = set(range(len(graph.nodes))) - set(members)
    assert all(graph.nodes.kind[i] == Kind.BIAS and graph.nodes.influence[i] == 0 for i in left_out)
    assert {graph.nodes.kind[i] for i in parts[0].members} == {Kind.TARGET}


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_a_share_is_what_flows_in_from_outside(seed: int) -> None:
    """Where all edges are shown, that is the sum of those that lead out of the part to what it feeds."""
    graph = grouped(everything(seed))
    e = graph.edges
    for part in parts_of(graph)[1:]:
        leaving = np.isin(e.source, part.members) & ~np.isin(e.target, part.members)
        assert part.share == pytest.approx(e.score[leaving].sum(), abs=1e-9), part.name


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_a_part_stands_under_what_uses_it_most_and_under_the_answer_if_that_takes_more_than_all_others(
    seed: int,
) -> None:
    graph = grouped(everything(seed))
    parts = parts_of(graph)

    def height(part: Part) -> float:
        if part.kind == Kind.TARGET:
            return float("inf")
        return float(graph.nodes.layer[list(part.members)].max()) if part.kind == Kind.FEATURE else -1.0

    for part, above in walked(outline(graph).root):
        if above is None:
            continue
        uses = {other.members: flow(graph, part, other) for other in parts if height(other) > height(part)}
        answer = uses.pop(parts[0].members)
        same_everywhere = part.kind in (Kind.ERROR, Kind.BIAS) or (
            0 <= graph.nodes.position[part.members[0]] < graph.prompt.prepended
        )
        if above.kind == Kind.TARGET:
            assert same_everywhere or answer >= sum(uses.values()) - 1e-12
        else:
            assert not same_everywhere
            assert answer < sum(uses.values())
            assert uses[above.members] == pytest.approx(max(uses.values()))


@given(SEEDS, st.integers(1, 12))
@settings(max_examples=10, deadline=None)
def test_what_is_not_shown_is_counted(seed: int, at_most: int) -> None:
    graph = grouped(everything(seed))
    whole, some = outline(graph), outline(graph, at_most)
    all_parts = {part.members: part for part, _ in walked(whole.root)}
    shown = {part.members for part, _ in walked(some.root)}
    assert whole.n_parts == whole.n_shown == len(all_parts) - 1
    assert whole.hidden_share == 0
    hidden = [part for members, part in all_parts.items() if members not in shown]
    assert some.n_parts - some.n_shown == len(hidden)
    assert some.hidden_share == pytest.approx(sum(part.share for part in hidden))
    strongest = sorted(all_parts.values(), key=lambda part: -part.share)[1 : at_most + 1]
    lightest = min(part.share for part in strongest)
    assert all(part.share <= lightest for part in hidden)


def test_what_stands_in_front_of_every_prompt_is_one_part() -> None:
    graph = everything(3)
    assert graph.prompt.prepended == 1
    [front] = [part for part in parts_of(graph) if part.name == graph.prompt.pieces[0]]
    n = graph.nodes
    assert set(front.members) == {i for i in range(len(n)) if n.position[i] == 0 and n.kind[i] in (0, 2)}
    bare = replace(graph, prompt=replace(graph.prompt, prepended=0))
    assert len(parts_of(bare)) == len(parts_of(graph)) + len(front.members) - 1


def test_a_part_promotes_what_its_members_promote_together() -> None:
    graph = full_graph(1)
    says = graph.promoted
    assert says is not None
    named = {part.name: part for part in parts_of(graph)}
    group = graph.supernodes[0]
    inside = [node for node in named[group.name].members if graph.nodes.kind[node] == Kind.FEATURE]
    summed: dict[str, float] = {}
    for node in inside:
        for token, logit in zip(says.tokens[node], says.logits[node], strict=True):
            summed[says.pieces[int(token)]] = summed.get(says.pieces[int(token)], 0.0) + float(logit)
    best = max(summed, key=lambda piece: (summed[piece], piece))
    assert named[group.name].promotes[0].piece == best
    assert named[group.name].promotes[0].logit == pytest.approx(summed[best])
