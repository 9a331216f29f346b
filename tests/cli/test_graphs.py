"""`micrographia convert` on graphs: there and back, the check, and what is refused."""

import json
from pathlib import Path

import pytest

from micrographia.graph.files import load_graph
from tests.cli.calling import Call
from tests.graph.graphs import full_graph, same
from tests.graph.peer_json import peer_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    full_graph().save(tmp_path / "graph")
    return tmp_path / "graph"


def test_a_folder_becomes_json_and_a_folder_again(call: Call, folder: Path, tmp_path: Path) -> None:
    said = call("convert", str(folder), str(tmp_path / "x.json"), "--check").result()
    assert f"Written: {tmp_path / 'x.json'} from {folder}" in said
    assert "links: sound, nothing found" in said
    call("convert", str(tmp_path / "x.json"), str(tmp_path / "again")).result()
    assert same(load_graph(tmp_path / "again"), load_graph(folder))


def test_a_file_can_be_checked_alone(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    content = peer_json()
    path.write_text(json.dumps(content))
    assert call("convert", str(path), "--check").result().endswith("links: sound, nothing found\n")
    del content["nodes"][0]["clerp"]
    content["nodes"][1]["feature"] = 5
    path.write_text(json.dumps(content))
    done = call("convert", str(path), "--check")
    assert (done.code, done.err) == (1, "")
    assert "error: nodes[0]: lacks clerp, a text" in done.out
    assert "not sound, 2 findings" in done.out
    found = json.loads(call("convert", str(path), "--check", "--json").out)
    assert found["check"]["sound"] is False
    assert found["check"]["findings"][0]["where"] == "nodes[0]"


def test_hostile_text_in_a_file_steers_no_terminal(call: Call, tmp_path: Path) -> None:
    content = peer_json()
    content["nodes"][0]["feature_type"] = "\x1b[31m\u202e[red]"
    (tmp_path / "x.json").write_text(json.dumps(content))
    out = call("convert", str(tmp_path / "x.json"), "--check").out
    assert "\x1b" not in out
    assert "\\u001b[31m\\u202e[red]" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("x.json",), "Give a destination: a name ending in .json, or a folder to make"),
        (("graph",), "Give a destination"),
        (("graph", "--check"), "Give a destination"),
        (("graph", "other"), "A graph's folder becomes a file that ends in .json"),
        (("x.json", "y.json"), "and such a file a folder"),
        (("graph", "x.json"), "x.json is there already, and nothing is written over"),
        (("gone.json", "--check"), "gone.json is not there"),
        (("gone.json", "new"), "gone.json is not there"),
        (("basis", "new"), "A basis needs a folder to make and a format: convert IN OUT --to micrographia"),
        (("basis",), "A basis needs a folder to make and a format"),
    ],
)
def test_a_wrong_call_is_one_sentence(
    call: Call, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.json").write_text(json.dumps(peer_json()))
    assert said in call("convert", *arguments).complaint(2)


def test_a_damaged_graph_is_a_failure_and_not_a_wrong_call(call: Call, folder: Path, tmp_path: Path) -> None:
    tables = folder / "tables.safetensors"
    tables.write_bytes(tables.read_bytes()[:-1])
    assert "is damaged" in call("convert", str(folder), str(tmp_path / "x.json")).complaint(1)
    (tmp_path / "bad.json").write_text("{")
    assert "cannot be read as JSON" in call("convert", str(tmp_path / "bad.json"), "--check").complaint(1)
    assert not (tmp_path / "x.json").exists()
