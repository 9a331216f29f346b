"""`micrographia compare`: what is printed, what JSON holds, and what careless calls are told."""

import json
from pathlib import Path

import pytest

from micrographia.cli.compare import read_layers
from micrographia.errors import CallError
from micrographia.microscope import Microscope
from tests.cli.calling import Call

A = "t3 t14 t15 t9 t2 t60"


@pytest.fixture
def other(scope: Microscope) -> str:
    """A prompt of the same length that is answered differently."""
    answer = scope.answers(A, top=1)[0].token
    texts = [f"t3 t14 t15 t9 t{i} t{last}" for last in (60, 61, 62, 63) for i in range(2, 40)]
    return next(text for text in texts if scope.answers(text, top=1)[0].token != answer)


def test_it_prints_what_differs_what_each_group_moves_and_the_controls(call: Call, folder: Path, other: str) -> None:
    shown = call("compare", A, other, "--model", str(folder), "--controls", "20", "--nodes", "60").result()
    lines = shown.splitlines()
    assert lines[0].startswith(f"A  {A}")
    assert lines[1].startswith(f"B  {other}")
    assert any(line.startswith("Differs: ") and "≠" in line for line in lines)
    assert any("flips" in line for line in lines)
    assert sum(line.startswith("Controls, ") for line in lines) == 2


def test_json_holds_all_of_it(call: Call, folder: Path, other: str) -> None:
    arguments = (A, other, "--model", str(folder), "--controls", "20", "--nodes", "60", "--layers", "1-2", "--json")
    found = json.loads(call("compare", *arguments).result())
    assert found["gaps"][0] < 0 < found["gaps"][1]
    assert {name.split(".")[0] for swap in found["swaps"] for name in swap["members"]} <= {"1", "2"}
    assert found["smallest"]["flips"] == (found["gaps"][0] + found["smallest"]["effect"] > 0)
    assert len(found["controls"]["random"]["effects"]) == 20


def test_what_there_was_no_time_for_is_counted(
    call: Call, folder: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("micrographia.evidence.comparing._BATCH", 8)
    arguments = (A, other, "--model", str(folder), "--controls", "20", "--nodes", "60", "--seconds", "0.000001")
    found = json.loads(call("compare", *arguments, "--json").result())
    assert len(found["swaps"]) == 8, "a batch is always measured"
    assert found["unmeasured"] > 0
    shown = call("compare", *arguments).result()
    assert f"There was no time for {found['unmeasured']} groups of less influence; --seconds gives more." in shown
    assert found["smallest"]["ended"] is False
    assert found["smallest"]["flips"] or "No set flips it in the time given (--seconds)" in shown


def test_layers_are_read() -> None:
    assert read_layers("8-20") == (8, 20)
    assert read_layers(" 7 ") == (7, 7)
    for wrong in ("", "x", "9-3", "1-2-3"):
        with pytest.raises(CallError, match="names no layers"):
            read_layers(wrong)


def test_a_careless_call_is_one_sentence(call: Call, folder: Path, other: str) -> None:
    assert "nothing to flip" in call("compare", A, A, "--model", str(folder)).complaint(2)
    said = call("compare", A, other, "--model", str(folder), "--layers", "70-90").complaint(2)
    assert "there is nothing to swap" in said
    assert "names no layers" in call("compare", A, other, "--layers", "x").complaint(2)
