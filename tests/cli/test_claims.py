"""`micrographia test`: the claims of a graph, what is kept of their tests, and what is said to careless calls."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from micrographia.cli.claims import Extent, claims
from micrographia.cli.options import ModelOptions
from micrographia.evidence.files import EVIDENCE
from micrographia.microscope import Microscope
from tests.cli.calling import CTRL_C_AFTER_TWO_BATCHES, Call, Called, on_terminal, spawn
from tests.graph.graphs import small_graph

PROMPT = "t3 t14 t15 t9 t2 t60"


@pytest.fixture
def graph(folder: Path, scope: Microscope, tmp_path: Path) -> Path:
    scope.trace(PROMPT, target="t5", max_nodes=40).save(tmp_path / "graph")
    return tmp_path / "graph"


def probed(call: Call, graph: Path, folder: Path, *options: str) -> Called:
    return call("test", str(graph), "--model", str(folder), *options)


def test_it_prints_the_tree_with_verdicts_and_keeps_what_it_measured(call: Call, graph: Path, folder: Path) -> None:
    lines = probed(call, graph, folder, "--controls", "20").result().splitlines()
    assert lines[:2] == [PROMPT, "tiny, read in neurons:half"]
    assert lines[3].startswith("Without each part, t5 changes by so much.")
    assert any(line[:1] in "✓✗" for line in lines if line)
    assert any(line.startswith("Claims: ✓ ") for line in lines)
    kept = json.loads((graph / EVIDENCE).read_text())
    tree = lines[: next(i for i, line in enumerate(lines) if line.startswith(("Along edges", "Between groups")))]
    answers = [one for one in kept["measured"].values() if one["kind"] == "answer"]
    assert len(answers) == sum(line[:1] in ("✓", "✗", "·") for line in tree)
    assert any(line.startswith("Along edges, directly") for line in lines)
    assert any(one["kind"] == "paths" for one in kept["measured"].values())
    assert all(len(one["controls"]) == 20 for one in kept["measured"].values())


def test_json_holds_every_claim_with_its_verdict(call: Call, graph: Path, folder: Path) -> None:
    found = json.loads(probed(call, graph, folder, "--controls", "20", "--json").result())
    assert found["name"] == "t5"
    assert sum(found["counts"].values()) == len(found["claims"])
    assert sum(found["shares"].values()) == pytest.approx(1.0)
    for claim in found["claims"]:
        assert claim["verdict"] in ("confirmed", "refuted", "untested")
        assert len(claim["controls"]) == 20
        assert claim["band"][0] <= claim["band"][1]
    assert found["agreement"]["all_paths"]["n"] == len(found["claims"])


def test_a_picture_shows_every_claim_that_was_tried(call: Call, graph: Path, folder: Path, tmp_path: Path) -> None:
    shown = probed(call, graph, folder, "--controls", "20", "--plot", str(tmp_path / "plot.svg")).result()
    assert f"Written: {tmp_path / 'plot.svg'}" in shown
    picture = (tmp_path / "plot.svg").read_text()
    tried = [one for one in json.loads((graph / EVIDENCE).read_text())["measured"].values() if one["kind"] == "answer"]
    assert picture.count("<g><title>") == len(tried)
    assert "cannot be a picture" in probed(call, graph, folder, "--plot", str(tmp_path)).complaint(2)


def test_it_goes_on_from_what_is_there_or_begins_anew(call: Call, graph: Path, folder: Path) -> None:
    def measured() -> dict:
        return json.loads((graph / EVIDENCE).read_text())["measured"]

    probed(call, graph, folder, "--controls", "20").result()
    before = measured()
    probed(call, graph, folder, "--controls", "30", "--seed", "5").result()
    after = measured()
    for name, one in before.items():
        assert after[name]["controls"][:20] == one["controls"]
        assert after[name]["effect"] == one["effect"]
    assert any(len(one["controls"]) == 30 for one in after.values())
    probed(call, graph, folder, "--controls", "20", "--seed", "5", "--anew").result()
    anew = measured()
    assert all(len(one["controls"]) == 20 for one in anew.values())
    assert any(anew[name]["controls"] != one["controls"] for name, one in before.items())


def test_as_many_claims_are_tested_as_were_asked_for_and_never_fewer_than_before(
    call: Call, graph: Path, folder: Path
) -> None:
    some = json.loads(probed(call, graph, folder, "--controls", "20", "--claims", "3", "--json").result())
    assert ["effect" in claim for claim in some["claims"]] == [number < 3 for number in range(len(some["claims"]))]
    assert some["claims"][3]["why"] == "not among the 3 strongest, which are tested"
    lines = probed(call, graph, folder, "--controls", "20").result().splitlines()
    assert any(f", {len(some['claims']) - 3} not tried" in line for line in lines), "the family is kept"
    assert "The 3 strongest claims were chosen" in probed(call, graph, folder, "--claims", "2").complaint(2)


def test_another_target_needs_a_new_beginning(call: Call, folder: Path, scope: Microscope, tmp_path: Path) -> None:
    scope.trace(PROMPT, max_nodes=40).save(tmp_path / "graph")
    first = probed(call, tmp_path / "graph", folder, "--controls", "20", "--target", "target.1", "--json").result()
    assert json.loads(first)["target"] == "target.1"
    said = probed(call, tmp_path / "graph", folder, "--target", "target.0").complaint(2)
    assert "holds evidence on target.1, not on target.0: begin anew, or test that one" in said


def test_interrupted_it_keeps_what_it_measured(graph: Path, folder: Path) -> None:
    """Ctrl-C after the second batch of controls."""
    left = spawn("test", str(graph), "--model", str(folder), before=CTRL_C_AFTER_TWO_BATCHES)
    assert (left.code, left.out, left.err) == (130, "", "error: interrupted.\n")
    kept = json.loads((graph / EVIDENCE).read_text())["measured"]
    answers = [one for one in kept.values() if one["kind"] == "answer"]
    assert 20 <= sum(len(one["controls"]) for one in answers) <= 40
    assert sorted(path.name for path in graph.iterdir()) == [EVIDENCE, "manifest.json", "tables.safetensors"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seconds", "0.000001"), "is too small for one claim and its 20 controls"),
        (("--seconds", "0"), 'Invalid value "0.0" for --seconds.'),
        (("--controls", "19"), 'Invalid value "19" for --controls.'),
        (("--claims", "0"), 'Invalid value "0" for --claims.'),
        (("--target", "target.9"), "There is no node target.9 in this graph"),
        (("--target", "token@1"), "token@1 is no target"),
        (("--basis", "neurons:frozen-gate"), "traced in another basis (Neurons)"),
    ],
)
def test_a_careless_call_is_one_sentence(
    call: Call, graph: Path, folder: Path, options: tuple[str, ...], said: str
) -> None:
    assert said in probed(call, graph, folder, *options).complaint(2)
    assert not (graph / EVIDENCE).exists()


def test_a_graph_whose_model_is_not_found_by_its_name_asks_for_it(call: Call, graph: Path) -> None:
    assert "was traced in 'tiny', which is not found by that name: give it as --model" in call(
        "test", str(graph)
    ).complaint(2)


def test_what_is_no_graph_or_says_too_little_is_refused(call: Call, folder: Path, tmp_path: Path) -> None:
    assert "is no graph" in probed(call, tmp_path / "nothing", folder).complaint(2)
    foreign = small_graph(0)
    replace(foreign, facts=None).save(tmp_path / "foreign")
    assert "does not say which model it was traced in" in probed(call, tmp_path / "foreign", folder).complaint(2)


def test_it_fits_into_eighty_columns(call: Call, graph: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    shown = on_terminal(lambda: claims(graph, extent=Extent(controls=20), model_options=ModelOptions(str(folder))))
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert max(cell_len(line) for line in plain.splitlines()) <= 80
    assert "✓" in plain
