"""Circuit files in the command and in pytest: green, red, refused, and the first one of a graph."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from micrographia.evidence.circuits import read_circuit
from micrographia.evidence.evidence import Tested as Known  # by its own name it would be collected
from micrographia.microscope import Microscope
from tests.cli.calling import Call

PROMPT = "t3 t14 t15 t9 t2 t60"
EXAMPLE = Path(__file__).parents[2] / "examples" / "eiffel.circuit.toml"


@cache
def strongest(scope: Microscope) -> Known:
    """The claim whose part moves its prompt's answer most, as measured."""
    graph = scope.trace(PROMPT, target=scope.answers(PROMPT, top=1)[0].token, max_nodes=60)
    evidence = scope.test(graph, seconds=60.0, controls=20)
    effects = [one for one in evidence.tried if one.measured is not None and one.measured.effect < 0]
    return max(effects, key=lambda one: abs(one.measured.effect) - abs(one.judgement.low or 0.0))


def a_circuit(folder: Path, scope: Microscope, path: Path, **changes: object) -> Path:
    """One claim about the neuron that moves its prompt's answer most, measured first."""
    answer, best = scope.answers(PROMPT, top=1)[0], strongest(scope)
    size = abs(best.measured.effect)
    said = {"lowers": size / 2, "controls": size / 2.1, **changes}
    lines = [
        "schema_version = 1",
        'name = "a [red] name"',
        f"model = {json.dumps(str(folder))}",
        'basis = "neurons"',
        "[[family]]",
        'name = "one"',
        f'prompts = [{{ text = "{PROMPT}", answer = "{answer.piece}" }}]',
        "[[claim]]",
        'words = "it falls"',
        'family = "one"',
        f"change = {json.dumps([f'{member}=0' for member in best.claim.members])}",
        'measure = "logit"',
        *(f"{key} = {json.dumps(value)}" for key, value in said.items()),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def run_pytest(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env=env)


def test_a_claim_that_holds_is_green_and_one_that_fails_red(
    call: Call, folder: Path, scope: Microscope, tmp_path: Path
) -> None:
    good = a_circuit(folder, scope, tmp_path / "good.circuit.toml")
    lines = call("test", str(good)).result().splitlines()
    assert lines[:2] == ["a [red] name", "tiny, read in neurons"]
    assert lines[3] == "✓ it falls"
    assert lines[-1] == "1 of 1 claims hold."
    bad = tmp_path / "bad.circuit.toml"
    bad.write_text(good.read_text().replace("lowers = ", "lowers = 9"))
    failed = call("test", str(bad))
    assert failed.code == 1
    assert "✗ it falls" in failed.out
    assert "too little" in failed.out
    content = json.loads(call("test", str(bad), "--json").out)
    assert content["claims"][0]["holds"] is False


def test_pytest_runs_each_claim_as_a_test(folder: Path, scope: Microscope, tmp_path: Path) -> None:
    good = a_circuit(folder, scope, tmp_path / "good.circuit.toml")
    (tmp_path / "bad.circuit.toml").write_text(good.read_text().replace("lowers = ", "lowers = 9"))
    (tmp_path / "broken.circuit.toml").write_text("schema_version = 1\n")
    done = run_pytest("--circuits", str(good), str(tmp_path / "bad.circuit.toml"))
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "too little" in done.stdout
    assert "Traceback" not in done.stdout
    broken = run_pytest("--circuits", str(tmp_path / "broken.circuit.toml"))
    assert "is no circuit file: name: Field required" in broken.stdout
    assert run_pytest(str(tmp_path)).returncode == 5, "nothing is collected that was not asked for"


def test_pytest_imports_nothing_of_ours_for_it() -> None:
    code = "import sys, micrographia_pytest\nprint([m for m in ('micrographia', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_first_file_is_written_from_what_was_confirmed(
    call: Call, folder: Path, scope: Microscope, tmp_path: Path
) -> None:
    answer = scope.answers(PROMPT, top=1)[0].token
    scope.trace(PROMPT, target=answer, max_nodes=40).save(tmp_path / "graph")
    said = call("test", "--new", str(tmp_path / "graph")).complaint(2)
    assert "was tested, so there is nothing to write" in said
    known = json.loads(call("test", str(tmp_path / "graph"), "--model", str(folder), "--json").result())
    written = call("test", "--new", str(tmp_path / "graph"), "--basis", "neurons")
    if known["counts"]["confirmed"]:
        path = tmp_path / "graph.circuit.toml"
        assert f"Written: {path}" in written.result()
        assert len(read_circuit(path).claim) == known["counts"]["confirmed"]
        again = json.loads(call("test", str(path), "--model", str(folder), "--json").out)
        assert all(claim["why"] != "the other way" for claim in again["claims"])
        assert "is there already" in call("test", "--new", str(tmp_path / "graph")).complaint(2)
    else:
        assert "No claim of this graph is confirmed" in written.complaint(2)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('family = "one"', 'family = "two"', "is about the family 'two'; there is one"),
        ('=0"]', '=0", "77.1@1=0"]', "There is no layer 77"),
        ('=0"]', '=0", "1.99999@1=0"]', "There is no feature 99999 in layer 1: it has 40, 0 to 39"),
        ('=0"]', '=0", "1.1@70=0"]', "There is no position 70: this prompt has 6 tokens, at 0 to 5"),
        ('=0"]', '=0", "1.1=0"]', "says no position"),
        ("[[claim]]", "[claim]", "is no circuit file"),
        ("[[claim]]", "[[claim", "cannot be read as TOML"),
        ("controls = ", "controls = 9", "contradicts itself: its controls may do 9"),
        ("lowers = ", "raises = 1.0\nlowers = ", "must say one of lowers and raises"),
        ("prompts = [{", "prompts = []\nothers = [{", "is no circuit file"),
    ],
)
def test_a_careless_file_is_one_sentence(
    call: Call, folder: Path, scope: Microscope, tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = a_circuit(folder, scope, tmp_path / "x.circuit.toml")
    path.write_text(path.read_text().replace(old, new))
    assert said in call("test", str(path)).complaint(2)


def test_claims_that_contradict_each_other_are_refused(
    call: Call, folder: Path, scope: Microscope, tmp_path: Path
) -> None:
    path = a_circuit(folder, scope, tmp_path / "x.circuit.toml")
    head, claim = path.read_text().split("[[claim]]")
    opposite = claim.replace("lowers", "raises").replace("it falls", "it rises")
    path.write_text(f"{head}[[claim]]{claim}[[claim]]{opposite}")
    assert "'it falls' and 'it rises' contradict each other" in call("test", str(path)).complaint(2)


def test_a_family_that_the_model_answers_otherwise_fails_and_says_so(
    call: Call, folder: Path, scope: Microscope, tmp_path: Path
) -> None:
    path = a_circuit(folder, scope, tmp_path / "x.circuit.toml")
    answer = scope.answers(PROMPT, top=1)[0].piece
    path.write_text(path.read_text().replace(f'answer = "{answer}"', 'answer = "t79"'))
    failed = call("test", str(path))
    assert failed.code == 1
    assert "the model answers no prompt of the family 'one' as the file says" in failed.out


def test_the_example_holds_on_the_embedded_model(call: Call) -> None:
    found = json.loads(call("test", str(EXAMPLE), "--json").result())
    assert [claim["holds"] for claim in found["claims"]] == [True] * 3
    assert all(claim["valid"] == 4 for claim in found["claims"])
