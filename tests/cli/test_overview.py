"""`micrographia overview`: what it prints, and what it says to careless calls."""

import json
from pathlib import Path

import pytest

from micrographia.microscope import Microscope
from tests.cli.calling import Call

PROMPT = "t3 t14 t15 t9 t2 t60"


def test_effects_of_features_and_where_the_value_begins(call: Call, folder: Path, scope: Microscope) -> None:
    said = call("overview", PROMPT, "--model", str(folder), "--target", "t5", "--top", "3").result()
    found = scope.overview(PROMPT, target="t5", top=3)
    assert f"Explained: t5, worth {found.value:+.3f}" in said
    for one in found.strongest:
        assert f"{one.node.layer}.{one.node.index} " in said
    assert f"{len(found.effect) - 3:,} active features more" in said
    lines = [line.split() for line in said.splitlines()]
    total = next(line for line in lines if line[1:] == ["in", "all"])
    assert float(total[0].replace("−", "-")) == pytest.approx(found.value, abs=1e-3)


def test_json_holds_all_that_adds_up(call: Call, folder: Path) -> None:
    said = json.loads(call("overview", PROMPT, "--model", str(folder), "--against", "t7", "--json").result())
    assert sum(said["tokens"]) + said["errors"] + said["bias"] == pytest.approx(said["value"], rel=1e-4, abs=1e-4)
    assert len(said["features"]) == 20
    assert all(len(each["promotes"]) == 5 for each in said["features"])


def test_a_careless_call_is_one_sentence(call: Call, folder: Path) -> None:
    said = call("overview", PROMPT, "--model", str(folder), "--target", "t5 t6").complaint(2)
    assert "t5" in said
    assert "no position 99" in call("overview", PROMPT, "--model", str(folder), "--position", "99").complaint(2)
