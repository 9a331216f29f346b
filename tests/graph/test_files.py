"""A graph on disk: the same bytes, the same graph, and one sentence for every kind of damage."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from micrographia import store
from micrographia.errors import CallError, MicrographiaError, WorkError
from micrographia.graph.files import load_graph, save_graph
from tests.graph.graphs import HOSTILE, full_graph, same, small_graph


@pytest.mark.parametrize("text", [*HOSTILE, "France"])
def test_a_graph_comes_back_as_it_was(text: str, tmp_path: Path) -> None:
    foreign = {"metadata": {"set": {"slug": text, "n": [1, 2.5, None, True]}, "drop": [text]}}
    graph = replace(full_graph(1, text), foreign=foreign)
    graph.save(tmp_path / "x")
    assert same(load_graph(tmp_path / "x"), graph)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["manifest.json", "tables.safetensors", "x"]
    (tmp_path / "x" / "manifest.json").read_bytes().decode("ascii")


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_graph(full_graph(2), tmp_path / name)
    save_graph(load_graph(tmp_path / "a"), tmp_path / "c")
    for file in ("manifest.json", "tables.safetensors"):
        assert len({(tmp_path / name / file).read_bytes() for name in "abc"}) == 1


def test_a_graph_opens_in_milliseconds(tmp_path: Path) -> None:
    save_graph(full_graph(), tmp_path / "x")
    taken = []
    for _ in range(5):
        start = time.process_time()
        load_graph(tmp_path / "x")
        taken.append(time.process_time() - start)
    assert min(taken) < 0.1


def test_nothing_is_written_over(tmp_path: Path) -> None:
    small_graph().save(tmp_path / "x")
    with pytest.raises(CallError, match="is there already"):
        small_graph().save(str(tmp_path / "x"))


def edited(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / "manifest.json").read_text())
        change(content)
        (folder / "manifest.json").write_text(json.dumps(content))

    return edit


def rewritten(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    """Tables that somebody changed, and then weighed anew."""

    def edit(folder: Path) -> None:
        tables = folder / "tables.safetensors"
        columns = load_file(tables)
        change(columns)
        save_file(columns, tables)
        edited(lambda c: c.update(files=[store.record_file(tables).model_dump()]))(folder)

    return edit


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-9]) and None


def flipped(folder: Path) -> None:
    data = bytearray((folder / "tables.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "tables.safetensors").write_bytes(data)


DAMAGES = {
    "manifest cut": (cut("manifest.json"), "cannot be read: "),
    "tables cut": (cut("tables.safetensors"), "is damaged: it has "),
    "a bit flipped": (flipped, "is damaged or edited: its SHA-256"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "is no graph: it has no manifest.json"),
    "no tables": (lambda f: (f / "tables.safetensors").unlink(), "cannot be read: No such file"),
    "nested": (lambda f: (f / "manifest.json").write_text("[" * 100_000) and None, "cannot be read: "),
    "another kind": (edited(lambda c: c.update(kind="corpus")), "is of the kind 'corpus'"),
    "a list": (lambda f: (f / "manifest.json").write_text("[]") and None, "is of the kind None"),
    "another version": (edited(lambda c: c.update(schema_version=3)), "has schema version 3, and this Micrographia"),
    "an unknown key": (edited(lambda c: c.update(colour="red")), "colour: Extra inputs"),
    "an unknown deep key": (edited(lambda c: c["ledger"].update(luck=1)), "ledger.luck: Unexpected keyword"),
    "a missing key": (edited(lambda c: c.pop("labels")), "labels: Field required"),
    "a wrong type": (edited(lambda c: c["prompt"].update(text=5)), "prompt.text: "),
    "another file": (edited(lambda c: c["files"][0].update(name="../x")), "must weigh tables.safetensors"),
    "a wrong name": (edited(lambda c: c["supernodes"][0].update(members=["x"])), "'x' names no node"),
    "a lost member": (edited(lambda c: c["supernodes"][0].update(members=["9.9@9"])), "There is no node 9.9@9"),
    "a lost target": (edited(lambda c: c["targets"].pop()), "its targets are not those"),
    "a shorter prompt": (edited(lambda c: c["prompt"]["ids"].pop()), "its nodes lie outside its prompt"),
    "lost pieces": (edited(lambda c: c["pieces"].popitem()), "a promoted token has no text"),
    "no pieces": (edited(lambda c: c.update(pieces=None)), "disagree on promoted.logits"),
    "a lost column": (rewritten(lambda t: t.pop("edges.score")), "disagree on edges.score"),
    "another dtype": (
        rewritten(lambda t: t.update({"nodes.kind": t["nodes.layer"]})),
        "nodes.kind has 1 axes of int64",
    ),
    "shorter columns": (rewritten(lambda t: t.update({"nodes.layer": t["nodes.layer"][1:]})), "differ in length"),
    "a stray edge": (rewritten(lambda t: t["edges.target"].__iadd__(99)), "an edge leads to a node that is not there"),
    "disorder": (rewritten(lambda t: t.update({"nodes.kind": t["nodes.kind"][::-1].copy()})), "not in canonical order"),
    "too few promoted": (
        rewritten(lambda t: t.update({name: t[name][1:] for name in t if name.startswith("promoted.")})),
        "not every feature says what it promotes",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_one_sentence(name: str, tmp_path: Path) -> None:
    damage, said = DAMAGES[name]
    save_graph(full_graph(3), tmp_path / "x")
    damage(tmp_path / "x")
    with pytest.raises(MicrographiaError) as caught:
        load_graph(tmp_path / "x")
    assert said in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello")
    with pytest.raises(CallError, match="is no graph"):
        load_graph(tmp_path / "x")


def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> store.FileRecord:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "record_file", full)
    with pytest.raises(WorkError, match="No space left"):
        save_graph(small_graph(), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
