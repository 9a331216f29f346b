"""`micrographia what-if`: the answers before and after, and what is said to careless calls."""

import json
from pathlib import Path

import pytest

from micrographia.microscope import Microscope
from tests.cli.calling import Call, Called

PROMPT = "t3 t14 t15 t9 t2 t60"


def tried(call: Call, folder: Path, *options: str) -> Called:
    return call("what-if", PROMPT, "--model", str(folder), "--basis", "neurons", *options)


def test_it_says_what_was_changed_and_the_answers_before_and_after(call: Call, folder: Path, scope: Microscope) -> None:
    lines = tried(call, folder, "--change", "0.7@2=3", "--token", "t9").result().splitlines()
    found = scope.what_if(PROMPT, "0.7@2=3", tokens=["t9"], features=8)
    assert lines[:2] == [PROMPT, "tiny, read in neurons; free"]
    assert lines[3] == f"Changed: 0.7@2 {scope.model.prompt(PROMPT).pieces[2]}  {found.shifts[0].clean:.3g} → 3"
    assert lines[5].split() == ["next", "token", "before", "after", "logit"]
    words = {line.split()[0]: line.split()[1:] for line in lines[6 : 6 + len(found.words)]}
    assert words == {
        word.piece: [f"{word.before:.3f}", f"{word.after:.3f}", f"{word.logit:+.2f}"] for word in found.words
    }
    assert "t9" in words
    assert lines[7 + len(found.words)].split() == ["changes", "with", "it", "at", "before", "after", "writes"]
    assert lines[8 + len(found.words)].startswith(str(found.changed[0].feature))
    assert len(lines) == 8 + len(found.words) + 8


def test_json_holds_the_same(call: Call, folder: Path, scope: Microscope) -> None:
    options = ("--change", "head.1.2@-1=x0", "--change", "token@3=x2", "--generate", "4", "--json", "--features", "3")
    found = json.loads(tried(call, folder, *options).result())
    expected = scope.what_if(PROMPT, ["head.1.2@-1=x0", "token@3=x2"], max_new=4, features=3)
    assert [one["part"] for one in found["changes"]] == ["head.1.2@5", "token@3"]
    assert [word["id"] for word in found["words"]] == [word.token for word in expected.words]
    assert [one["feature"] for one in found["features"]] == [str(one.feature) for one in expected.changed]
    assert (found["written"]["before"], found["written"]["after"]) == expected.written
    assert (found["mode"], found["basis"]) == ("free", "neurons")


def test_what_it_writes_before_and_after_is_shown(call: Call, folder: Path) -> None:
    out = tried(call, folder, "--change", "0.7@2:=9", "--generate", "5", "--features", "0").result()
    assert "Writes, before: t" in out
    assert "Writes, after:  t" in out


@pytest.mark.parametrize("mode", ["free", "iterative", "constrained", "frozen"])
def test_every_mode_has_a_name(call: Call, folder: Path, mode: str) -> None:
    found = json.loads(tried(call, folder, "--change", "0.7@2=3", "--mode", mode, "--json").result())
    assert found["mode"] == ("constrained" if mode == "frozen" else mode)


def test_many_changes_are_counted(call: Call, folder: Path) -> None:
    out = tried(call, folder, "--change", "0.7=0", "--change", "1.7=0").result()
    assert out.count("Changed: ") == 8
    assert "… and 4 more" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--change"),
        (("--change", "zebra"), "'zebra' says no change. Write 25.567@14=0"),
        (("--change", "0.7@6=0"), "There is no position 6: this prompt has 6 tokens, at 0 to 5"),
        (("--change", "9.7@2=0"), "There is no layer 9: this model has the layers 0 to 2"),
        (("--change", "0.40@2=0"), "There is no feature 40 in layer 0: it has 40, 0 to 39"),
        (("--change", "error.1@2=0"), "the basis is exact there"),
        (("--change", "0.7@2=0", "--change", "0.7@2=x2"), "0.7@2 is changed twice"),
        (("--change", "0.7@2=0", "--token", "zebra"), "zebra"),
        (("--change", "0.7@2=0", "--position", "6"), "There is no position 6"),
        (("--change", "0.7@2=0", "--mode", "iterative", "--generate", "3"), "Only the free mode can write on"),
        (("--change", "0.7@6:=0"), "ask for new tokens"),
    ],
)
def test_a_careless_call_is_one_sentence(call: Call, folder: Path, options: tuple[str, ...], said: str) -> None:
    assert said in tried(call, folder, *options).complaint(2)
