"""`micrographia test --audit` and `--circuit-curve`: what is printed and what JSON holds."""

import json
from pathlib import Path

import pytest

from micrographia.microscope import Microscope
from tests.cli.calling import Call


@pytest.fixture
def graph(scope: Microscope, tmp_path: Path) -> Path:
    scope.trace("t3 t14 t15 t9 t2 t60", max_nodes=120).save(tmp_path / "graph")
    return tmp_path / "graph"


def test_the_audit_stands_beside_the_published_figures(call: Call, graph: Path, folder: Path) -> None:
    shown = call("test", str(graph), "--audit", "--model", str(folder)).result()
    assert "feature to feature, ranks: all paths" in shown
    assert "0.72" in shown
    assert "Published, one layer on: cosine 0.8, error 0.4." in shown
    found = json.loads(call("test", str(graph), "--audit", "--model", str(folder), "--json").result())
    audit = found["audit"]
    assert audit["influence"]["low"] <= audit["influence"]["value"] <= audit["influence"]["high"]
    assert audit["depths"][0]["cosine"]["value"] == pytest.approx(1.0, abs=1e-4), "neurons are exact"
    assert found["curves"] == []


def test_the_curve_has_random_circuits_beside_it(call: Call, graph: Path, folder: Path, monkeypatch) -> None:
    texts = ("t7 t8 t20 t33 t41 t5", "t4 t60 t61 t2", "t9 t9 t71")
    monkeypatch.setattr("micrographia.microscope.REFERENCES", texts)
    shown = call("test", str(graph), "--circuit-curve", "--model", str(folder)).result()
    assert shown.count("All else is ") == 2
    assert "All else is the mean of other prompts" in shown
    found = json.loads(call("test", str(graph), "--circuit-curve", "--model", str(folder), "--json").result())
    assert [curve["ablation"] for curve in found["curves"]] == ["mean", "resample"]
    assert all(len(point["random_kept"]) == 5 for curve in found["curves"] for point in curve["points"])
