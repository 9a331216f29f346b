"""Reading the JSON back: ours whole, another tool's as far as it goes, and one sentence for what cannot be read."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.errors import CallError, MicrographiaError, WorkError
from micrographia.graph.exchange import graph_json, write_graph_json
from micrographia.graph.files import load_graph
from micrographia.graph.graph import NodeLabel, Supernode
from micrographia.graph.imported import graph_of_json, import_graph
from micrographia.graph.nodes import Kind
from tests.graph.graphs import HOSTILE, full_graph, same, small_graph
from tests.graph.peer_json import height, peer_json


def unordered(content: dict) -> dict:
    """A file's content, with nodes and links in an order of their own."""
    return {
        **content,
        "nodes": sorted(content["nodes"], key=lambda node: (node["feature_type"], node["node_id"])),
        "links": sorted(content["links"], key=lambda link: (link["target"], link["source"], link["weight"])),
    }


@pytest.mark.parametrize("text", [*HOSTILE, "France"])
def test_our_graph_comes_back_whole(text: str, tmp_path: Path) -> None:
    graph = full_graph(2, text)
    write_graph_json(graph, tmp_path / "x.json")
    assert same(import_graph(tmp_path / "x.json"), graph)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.floats(0.1, 1), st.floats(0.1, 1))
def test_any_graph_of_ours_comes_back_whole(seed: int, node_share: float, edge_share: float) -> None:
    graph = small_graph(seed, node_share, edge_share)
    assert same(graph_of_json(json.loads(json.dumps(graph_json(graph)))), graph)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.booleans())
def test_another_tools_file_is_given_back_as_it_was(seed: int, shuffled: bool) -> None:
    content = peer_json(seed)
    content["nodes"][2] |= {"clerp": "a label", "evidence": {"verdict": "confirmed"}}
    content["links"][0] |= {"note": [1, 2]}
    content["metadata"]["generation_settings"] = {"batch_size": 48}
    del content["qParams"]["sg_pos"]
    if shuffled:
        content["links"].reverse()
    graph = graph_of_json(copy.deepcopy(content))
    assert unordered(graph_json(graph)) == unordered(content)


def test_a_files_graph_survives_our_folder(tmp_path: Path) -> None:
    content = peer_json(3)
    graph = graph_of_json(content)
    graph.save(tmp_path / "x")
    assert same(load_graph(tmp_path / "x"), graph)
    assert unordered(graph_json(load_graph(tmp_path / "x"))) == unordered(content)


def test_it_says_what_the_file_says() -> None:
    graph = graph_of_json(peer_json())
    assert graph.n_layers == 4
    assert graph.prompt.pieces == ("<bos>", "␣Eiffel", "⏎")
    assert graph.prompt.ids == (500, 501, 502)
    assert [(t.name, t.token, t.probability) for t in graph.targets] == [("␣French", 900, 0.75), ("␣(p=", 901, 0.125)]
    assert [t.weight for t in graph.targets] == pytest.approx([6 / 7, 1 / 7])
    assert (graph.node_share, graph.edge_share) == (0.8, 0.9)
    assert graph.supernodes[0].name == "a group"
    assert graph.supernodes[0].by == "user"
    assert graph.node("2.202@1").curve == peer_json()["nodes"][4]["influence"]
    assert (graph.scores, graph.ledger, graph.facts) == (None, None, None)


def test_influence_is_what_flows_through_what_the_file_shows() -> None:
    content = peer_json(5)
    graph = graph_of_json(content)
    flow = {node["node_id"]: 0.0 for node in content["nodes"]}
    flow |= {node["node_id"]: node["token_prob"] / 0.875 for node in content["nodes"][-2:]}
    for target in sorted(content["nodes"], key=height, reverse=True):
        links = [link for link in content["links"] if link["target"] == target["node_id"]]
        for link in links:
            share = abs(link["weight"]) / sum(abs(each["weight"]) for each in links)
            flow[link["source"]] += flow[target["node_id"]] * share
    for node in content["nodes"][:8]:
        layer, index, position = node["node_id"].split("_")
        assert graph.node(f"{layer}.{index}@{position}").influence == pytest.approx(flow[node["node_id"]])
    assert sum(edge.share for edge in graph.inputs_of("target.0")) == pytest.approx(1)
    assert graph.strongest_paths(3)[0].share >= graph.strongest_paths(3)[1].share > 0


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_old_ids_that_two_nodes_share_are_told_apart(seed: int) -> None:
    """`0_2_1` is a feature of layer 0 and the error of layer 2; the same file with new ids says which was meant."""
    graph = graph_of_json(peer_json(seed))
    old = peer_json(seed, old_errors=True)
    try:
        told = graph_of_json(old)
    except CallError:  # only where no other link of the target stands between the two
        return
    assert same_edges(told) == same_edges(graph)
    assert unordered(graph_json(told)) == unordered(old)


def same_edges(graph) -> set[tuple[str, str, float]]:
    return {(str(e.source), str(e.target), e.weight) for name in graph.nodes for e in graph.inputs_of(name)}


def test_most_old_files_can_be_read() -> None:
    refused: list[str] = []
    for seed in range(20):
        try:
            graph_of_json(peer_json(seed, old_errors=True))
        except CallError as error:
            refused.append(str(error))
    assert len(refused) < 10
    assert all("may come from a feature or from an error" in said for said in refused)


def test_labels_and_groups_that_another_tool_changed_are_kept() -> None:
    graph = full_graph()
    content = json.loads(json.dumps(graph_json(graph)))
    content["nodes"][1]["clerp"] = "capital cities"
    names = [content["nodes"][i]["node_id"] for i in (0, 3)]
    content["qParams"]["supernodes"] = [["mine", *names, "9_9_9"], ["again", names[0]]]
    found = graph_of_json(content)
    assert found.labels[graph.nodes.id(1)] == NodeLabel("capital cities", by="another tool")
    members = tuple(graph.nodes.id(i) for i in (0, 3))
    assert found.supernodes == (Supernode("mine", members, "grouped in the file that was read", "user"),)


def test_links_that_another_tool_took_out_stay_out() -> None:
    graph = small_graph(node_share=1.0, edge_share=1.0)
    content = json.loads(json.dumps(graph_json(graph)))
    gone = content["links"].pop(3)
    found = graph_of_json(content)
    assert len(found.edges) == len(graph.edges) - 1
    assert gone["weight"] not in found.edges.weight


FAULTS: dict[str, tuple[Callable[[dict], object], str]] = {
    "form": (lambda c: c["nodes"][0].pop("layer"), "nodes[0]: lacks layer"),
    "type": (lambda c: c["nodes"][0].update(feature_type="lorsa"), 'is "lorsa"; readers know'),
    "dangling": (lambda c: c["links"][0].update(source="9_9_9"), "which is no node"),
    "twice": (lambda c: c["nodes"].append({**c["nodes"][0], "node_id": "other"}), "A node is in it twice"),
    "upwards": (lambda c: c["links"][0].update(source="5_900_2"), "not from a lower layer"),
    "no logit": (
        lambda c: c.update(nodes=[n for n in c["nodes"] if n["feature_type"] != "logit"], links=[]),
        "has no logit",
    ),
    "no feature": (
        lambda c: [c.update(links=[], qParams={}), c["nodes"][0].update(node_id="x", feature=None)],
        "which feature of layer 0",
    ),
}
OWN_FAULTS: dict[str, tuple[Callable[[dict], object], str]] = {
    "another version": (lambda c: ours(c)["manifest"].update(schema_version=1), "schema_version: "),
    "unknown": (lambda c: ours(c).update(luck=1), "holds manifest, bias, luck"),
    "unknown deep": (lambda c: ours(c)["manifest"].update(luck=1), "luck: Extra inputs"),
    "no number": (lambda c: c["nodes"][0]["micrographia"].pop("total"), "lacks total"),
    "text as number": (lambda c: c["nodes"][0]["micrographia"].update(total="x"), "'x' is no number"),
    "no share": (lambda c: c["links"][0].pop("share"), "lacks its share or its score"),
    "uneven": (lambda c: c["nodes"][0]["micrographia"].update(promotes=[]), "Not every feature promotes as many"),
    "pairs": (lambda c: c["nodes"][0]["micrographia"].update(promotes=[[1], [2]]), "must be pairs of a token and a"),
    "lost target": (lambda c: ours(c)["manifest"]["targets"].pop(), "its targets are not those"),
}


def ours(content: dict) -> dict:
    return content["metadata"]["micrographia"]


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_read_is_one_sentence(name: str, tmp_path: Path) -> None:
    change, said = FAULTS[name]
    content = peer_json()
    change(content)
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(WorkError) as caught:
        import_graph(tmp_path / "x.json")
    assert said in str(caught.value)
    assert "holds no graph that can be read" in str(caught.value)


@pytest.mark.parametrize("name", OWN_FAULTS)
def test_what_of_ours_cannot_be_read_is_one_sentence(name: str) -> None:
    change, said = OWN_FAULTS[name]
    content = json.loads(json.dumps(graph_json(full_graph())))
    change(content)
    with pytest.raises(CallError) as caught:
        graph_of_json(content)
    assert said in str(caught.value)


@settings(max_examples=40)
@given(st.data())
def test_no_edit_makes_it_stumble(data: st.DataObject) -> None:
    """Any value in any place is read, or refused in a sentence."""
    content = json.loads(json.dumps(graph_json(full_graph()))) if data.draw(st.booleans()) else peer_json()
    at = content
    while isinstance(at, dict | list) and at:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.integers(0, 3)) == 0:
            at[key] = data.draw(st.sampled_from([None, -1, 7, 10**30, 0.5, "x", "\ud800", [], {}, True]))
            break
        at = at[key]
    said = ""
    try:
        graph = graph_of_json(content)
    except MicrographiaError as error:
        said = str(error)
    else:
        assert Kind.TARGET in graph.nodes.kind
    assert said.count("\n") == 0
