"""The validator: good files pass, and every rule that is broken is found where it is."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.errors import CallError, WorkError
from micrographia.graph.check import cantor, check_graph, read_graph_json, uncantor
from micrographia.graph.exchange import graph_json
from tests.graph.graphs import HOSTILE, full_graph
from tests.graph.peer_json import peer_json


@given(st.integers(0, 10**6), st.integers(0, 10**9))
def test_the_pair_is_undone(layer: int, feature: int) -> None:
    assert uncantor(cantor(layer, feature)) == (layer, feature)


def test_the_pair_is_the_one_that_others_use() -> None:
    assert (cantor(0, 18753), cantor(24, 45394)) == (175865634, 1031465465)


@pytest.mark.parametrize("text", [*HOSTILE, "France"])
def test_what_we_write_has_no_fault(text: str) -> None:
    assert check_graph(json.loads(json.dumps(graph_json(full_graph(1, text))))).findings == ()


def test_what_others_write_has_no_fault() -> None:
    report = check_graph(peer_json())
    assert report.findings == ()
    assert (report.n_nodes, report.n_links) == (len(peer_json()["nodes"]), len(peer_json()["links"]))


def test_the_collisions_of_old_files_are_found() -> None:
    report = check_graph(peer_json(old_errors=True))
    assert not report.sound
    assert 'nodes[12].node_id: "0_2_1" is also nodes[0]' in "\n".join(map(str, report.findings))
    assert any("is also the name of a feature" in finding.what for finding in report.findings)


def feature(content: dict) -> dict:
    return content["nodes"][3]


def error(content: dict) -> dict:
    return next(node for node in content["nodes"] if node["feature_type"] == "mlp reconstruction error")


def token(content: dict) -> dict:
    return next(node for node in content["nodes"] if node["feature_type"] == "embedding")


def logit(content: dict) -> dict:
    return next(node for node in content["nodes"] if node["feature_type"] == "logit")


def without_high(content: dict) -> None:
    low = [node for node in content["nodes"] if node["layer"] in ("0", "E", "5")]
    names = {node["node_id"] for node in low}
    links = [link for link in content["links"] if {link["source"], link["target"]} <= names]
    content.update(nodes=low, links=links, qParams={})


FAULTS: dict[str, tuple[Callable[[dict], object], str, str]] = {
    "no metadata": (lambda c: c.pop("metadata"), "error", "lacks metadata"),
    "nodes as text": (lambda c: c.update(nodes="x"), "error", "nodes: must be a list of objects"),
    "no slug": (lambda c: c["metadata"].pop("slug"), "error", "metadata: lacks slug"),
    "tokens not texts": (lambda c: c["metadata"].update(prompt_tokens=[1]), "error", "must be a list of texts"),
    "no version": (lambda c: c["metadata"].pop("schema_version"), "warning", "should be 1, and is null"),
    "set in one place": (
        lambda c: c["metadata"].update(info={"neuronpedia_source_set": "s"}),
        "warning",
        "must name the source set in both places or in none",
    ),
    "node lacks": (lambda c: feature(c).pop("jsNodeId"), "error", "nodes[3]: lacks jsNodeId, a text"),
    "layer": (lambda c: feature(c).update(layer="two"), "error", 'must be a layer\'s number, or "E", and is "two"'),
    "number": (lambda c: feature(c).update(activation="1"), "error", "nodes[3].activation: must be a number or null"),
    "huge number": (lambda c: c["links"][0].update(weight=10**400), "error", "links[0].weight: must be a number"),
    "true as number": (lambda c: feature(c).update(ctx_idx=True), "error", "ctx_idx: must be a whole number"),
    "type": (lambda c: feature(c).update(feature_type="lorsa"), "error", 'is "lorsa"; readers know cross layer'),
    "position": (lambda c: feature(c).update(ctx_idx=3), "error", "is 3, and the prompt has 3 tokens"),
    "pair": (lambda c: feature(c).update(feature=7), "error", "readers expect"),
    "feature id": (lambda c: feature(c).update(node_id="x"), "warning", "should be {layer}_{feature}_{position}"),
    "error id": (lambda c: error(c).update(node_id="0_err"), "warning", "should be {layer}_-1_{position}"),
    "error feature": (lambda c: error(c).update(feature=4), "warning", "is 4; an error's is -1"),
    "token id": (lambda c: token(c).update(node_id="500"), "warning", "should be E_{vocabulary}_{position}"),
    "token layer": (lambda c: token(c).update(layer="0"), "error", 'a token\'s is "E"'),
    "token feature": (lambda c: token(c).update(feature=9), "warning", "a token's is its position, 0"),
    "no probability": (lambda c: logit(c).update(clerp='Output "x"'), "error", "must end with the probability"),
    "bad probability": (lambda c: logit(c).update(clerp='Output "x" (p=1e)'), "error", "must end with the probability"),
    "another probability": (lambda c: logit(c).update(clerp='Output "x" (p=0.5)'), "warning", "says p=0.5, and token"),
    "no token_prob": (lambda c: logit(c).pop("token_prob"), "warning", "has no token_prob"),
    "impossible": (lambda c: logit(c).update(token_prob=1.5), "error", "is 1.5, which is no probability"),
    "logit id": (lambda c: logit(c).update(node_id="L_900_2"), "warning", "should be {layers + 1}_{vocabulary}"),
    "no logit": (
        lambda c: c.update(nodes=[n for n in c["nodes"] if n["feature_type"] != "logit"]),
        "error",
        "has no logit",
    ),
    "no target": (lambda c: logit(c).update(is_target_logit=False), "warning", "marks no logit"),
    "only layer 0": (without_high, "error", "must have a node above layer 0"),
    "influence": (lambda c: feature(c).update(influence=7), "warning", "the node's place on the cumulative curve"),
    "twice": (lambda c: c["nodes"].append(copy.deepcopy(feature(c))), "error", "is also nodes[3]"),
    "dangling": (lambda c: c["links"][0].update(source="9_9_9"), "error", 'leads to "9_9_9", which is no node'),
    "repeated": (lambda c: c["links"].append(c["links"][0]), "error", "is there twice"),
    "downwards": (
        lambda c: c["links"][0].update(source=c["links"][0]["target"], target=c["links"][0]["source"]),
        "error",
        "and not from a lower layer to a higher one",
    ),
    "pinned": (lambda c: c["qParams"].update(pinnedIds=["x"]), "warning", 'pinnedIds[0]: is "x", which is no node'),
    "empty group": (lambda c: c["qParams"].update(supernodes=[["x"]]), "warning", "a label and at least one node"),
    "group of strangers": (lambda c: c["qParams"].update(supernodes=[["x", "y"]]), "warning", 'holds "y", which is no'),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_where_it_is(name: str) -> None:
    change, level, said = FAULTS[name]
    content = peer_json()
    change(content)
    report = check_graph(content)
    assert [f for f in report.findings if f.level == level and said in str(f)], list(map(str, report.findings))
    assert report.sound == all(finding.level == "warning" for finding in report.findings)


def test_faults_alike_are_counted_together() -> None:
    content = peer_json()
    for node in content["nodes"]:
        del node["clerp"]
    found = [finding for finding in check_graph(content).findings if "lacks clerp" in finding.what]
    assert [finding.more for finding in found] == [0, 0, len(content["nodes"]) - 3]
    assert str(found[2]).endswith(f"(and {len(content['nodes']) - 3} more like it)")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40)
@given(json_values, st.sampled_from(["metadata", "qParams", "nodes", "links"]), st.data())
def test_no_json_makes_it_stumble(value: object, part: str, data: st.DataObject) -> None:
    content = peer_json()
    if data.draw(st.booleans()):
        content[part] = value
    elif isinstance(content[part], list):
        record = content[part][0]
        record[data.draw(st.sampled_from(sorted(record)))] = value
    else:
        content[part][data.draw(st.sampled_from(sorted(content[part])))] = value
    assert isinstance(check_graph(content).sound, bool)
    assert not check_graph(value).sound  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": ', "cannot be read as JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("\xff", "cannot be read as JSON"),
    ],
)
def test_what_is_no_json_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(WorkError, match=said):
        read_graph_json(path)


def test_a_file_that_is_not_there_is_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="is not there: give a graph's JSON file"):
        read_graph_json(tmp_path / "x.json")
