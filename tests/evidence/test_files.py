"""Evidence beside its graph: there and back, and what is damaged, foreign or newer refused in a sentence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from micrographia.errors import WorkError
from micrographia.evidence.evidence import Evidence
from micrographia.evidence.files import EVIDENCE, forget_evidence, load_evidence, save_evidence
from micrographia.evidence.testing import Experiment
from micrographia.evidence.verdicts import FAMILY
from micrographia.graph.files import load_graph
from micrographia.graph.graph import Graph
from tests.evidence.planted import Planted, planted
from tests.evidence.test_testing import true_and_false


@pytest.fixture
def place(tiny) -> Planted:
    return planted(tiny("llama"), 0)


@pytest.fixture
def graph(place: Planted) -> Graph:
    return true_and_false(place, 0, 1)


@pytest.fixture
def folder(graph: Graph, tmp_path: Path) -> Path:
    graph.save(tmp_path / "graph")
    return tmp_path / "graph"


@pytest.fixture
def known(place: Planted, graph: Graph) -> Evidence:
    return Experiment(place.bench, graph, seed=3).run(600.0, most=20)


def test_what_is_written_is_what_is_read(graph: Graph, folder: Path, known: Evidence) -> None:
    assert load_evidence(graph, folder) is None
    save_evidence(known, folder)
    again = load_evidence(load_graph(folder), folder)
    assert again.measured == known.measured
    assert (again.claims, again.links) == (known.claims, known.links)
    assert again.inside == known.inside
    assert any(one.measured is not None for one in again.inside)
    assert (again.target, again.name, again.value, again.family) == (known.target, known.name, known.value, FAMILY)
    assert (again.probability, again.rate, again.seed) == (known.probability, known.rate, 3)
    assert sorted(path.name for path in folder.iterdir()) == [EVIDENCE, "manifest.json", "tables.safetensors"]


def test_a_file_of_version_1_is_read_as_claims_about_the_answer(graph: Graph, folder: Path, known: Evidence) -> None:
    save_evidence(known, folder)
    path = folder / EVIDENCE
    content = json.loads(path.read_text())
    old = {key: dict(one) for key, one in content["measured"].items() if one["kind"] == "answer"}
    for one in old.values():
        del one["kind"], one["reads"]
    del content["family"]
    path.write_text(json.dumps({**content, "schema_version": 1, "measured": old}))
    again = load_evidence(graph, folder)
    assert again.tested == known.tested
    assert all(one.measured is None for one in again.inside)


def test_before_version_3_no_claims_were_chosen_so_all_that_were_tried_are_the_family(
    graph: Graph, folder: Path, known: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("micrographia.evidence.files.FAMILY", 1)
    tried = {claim.key: known.measured[claim.key] for claim in (known.claims[0], known.claims[2], *known.links)}
    save_evidence(replace(known, measured=tried), folder)
    path = folder / EVIDENCE
    content = json.loads(path.read_text())
    del content["family"]
    path.write_text(json.dumps({**content, "schema_version": 2}))
    again = load_evidence(graph, folder)
    assert (again.family, again.measured) == (3, tried)


def test_it_can_be_forgotten(graph: Graph, folder: Path, known: Evidence) -> None:
    save_evidence(known, folder)
    forget_evidence(folder)
    assert load_evidence(graph, folder) is None
    forget_evidence(folder)
    assert load_graph(folder).prompt == graph.prompt


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 4}, "has schema version 4, and this Micrographia reads version 3"),
        ({"family": 0}, "family"),
        ({"graph_sha256": "0" * 64}, "belongs to another graph"),
        ({"surprise": 1}, "surprise"),
        ({"seed": "one"}, "seed"),
        ({"measured": {"9.9@9": None}}, "cannot be understood"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    graph: Graph, folder: Path, known: Evidence, change: dict, said: str
) -> None:
    save_evidence(known, folder)
    path = folder / EVIDENCE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(WorkError, match=said):
        load_evidence(graph, folder)


def test_a_claim_that_is_not_the_graphs_is_refused(graph: Graph, folder: Path, known: Evidence) -> None:
    save_evidence(known, folder)
    path = folder / EVIDENCE
    content = json.loads(path.read_text())
    name = next(iter(content["measured"]))
    content["measured"][name]["members"] = ["1.1@1"]
    path.write_text(json.dumps(content))
    with pytest.raises(WorkError, match="which is no claim of this graph"):
        load_evidence(graph, folder)


def test_a_file_that_is_cut_short_is_refused(graph: Graph, folder: Path, known: Evidence) -> None:
    save_evidence(known, folder)
    path = folder / EVIDENCE
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(WorkError, match=r"cannot be read: .*Delete it to begin anew"):
        load_evidence(graph, folder)
