"""Writing the JSON that other tools open."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from micrographia.graph.check import cantor, check_graph
from micrographia.graph.exchange import graph_json, node_ids, patched, spoken, write_graph_json
from micrographia.graph.nodes import Kind
from tests.graph.graphs import HOSTILE, full_graph, small_graph


def test_every_kind_of_node_is_written_as_others_read_it() -> None:
    graph = full_graph()
    nodes = {node["node_id"]: node for node in graph_json(graph)["nodes"]}
    ids = node_ids(graph)
    assert set(nodes) == {ids[name] for name in graph.nodes if name.kind is not Kind.BIAS}
    for name, node_id in ids.items():
        if name.kind is Kind.FEATURE:
            node = nodes[node_id]
            assert node_id == f"{name.layer}_{name.index}_{name.position}"
            assert node["feature"] == cantor(name.layer, name.index)
            assert node["layer"] == str(name.layer)
            assert node["activation"] == graph.node(name).activation
            assert node["influence"] == graph.node(name).curve
        elif name.kind is Kind.ERROR:
            assert node_id == f"{name.layer}_-1_{name.position}"
    assert nodes["E_101_1"]["feature"] == 1
    logit = nodes["5_7_2"]
    assert logit["clerp"] == f'Output "France" (p={graph.targets[0].probability:.3f})'
    assert logit["token_prob"] == graph.targets[0].probability
    assert logit["is_target_logit"] is True


def test_a_feature_without_a_label_says_what_it_promotes() -> None:
    graph = full_graph()
    nodes = graph_json(graph)["nodes"]
    assert nodes[0]["clerp"] == "France"
    assert nodes[1]["clerp"] == "promotes France2 France3"


def test_links_are_the_edges_but_those_from_the_bias() -> None:
    graph = small_graph(node_share=1.0, edge_share=1.0)
    content = graph_json(graph)
    bias = graph.outputs_of("bias")
    assert len(content["links"]) == len(graph.edges) - len(bias) < len(graph.edges)
    written = {edge["target"]: edge["weight"] for edge in content["metadata"]["micrographia"]["bias"]["edges"]}
    ids = node_ids(graph)
    assert written == {ids[edge.target]: edge.weight for edge in bias}


def test_what_a_host_needs_stands_where_it_looks() -> None:
    content = graph_json(full_graph(), slug="s", scan="gemma-2-2b", source_set="clt-hp")
    metadata = content["metadata"]
    assert (metadata["slug"], metadata["scan"], metadata["schema_version"]) == ("s", "gemma-2-2b", 1)
    assert metadata["info"]["neuronpedia_source_set"] == "clt-hp"
    assert metadata["feature_details"] == {"neuronpedia_source_set": "clt-hp"}
    assert metadata["prompt_tokens"] == ["France", " p101", " p102"]
    assert content["qParams"]["supernodes"][1][0] == "b"
    assert check_graph(content).findings == ()


def test_targets_that_are_no_token_or_one_token_twice_have_ids_of_their_own() -> None:
    graph = small_graph()
    first = replace(graph.targets[0], token=None, probability=None)
    content = graph_json(replace(graph, targets=(first, graph.targets[1])))
    logits = [node for node in content["nodes"] if node["feature_type"] == "logit"]
    assert [node["feature"] for node in logits] == [10_000_000, 8]
    assert logits[0]["token_prob"] == graph.targets[0].weight
    same = replace(graph, targets=(graph.targets[0], replace(graph.targets[1], token=7)))
    report = check_graph(graph_json(same))
    assert report.findings == ()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_file_is_ascii_and_the_same_each_time(text: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_graph_json(full_graph(0, text), tmp_path / name)
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    assert data.isascii()
    assert json.loads(data)["metadata"]["prompt"] == text


def test_pieces_are_spoken_as_text() -> None:
    assert spoken("␣French⏎⇥x␍") == " French\n\tx\r"


def test_a_patch_sets_and_drops() -> None:
    made = {"a": 1, "b": 2}
    assert patched(made, {"set": {"a": 3, "c": 4}, "drop": ["b"]}) == {"a": 3, "c": 4}
    assert patched(made, None) == made
    assert patched(made, {}) is not made
