"""Interventions as people write them."""

import pytest

from micrographia.errors import CallError
from micrographia.evidence.notation import read_intervention
from tests.evidence.test_rows import bench_of


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ("1.7@4=0", ["1.7@4=0"]),
        ("1.7@4=x2.5", ["1.7@4=x2.5"]),
        (" 1.7@4=+3 ", ["1.7@4=+3"]),
        ("1.7@4=+-3", ["1.7@4=+-3"]),
        ("1.7@4=-1e-2", ["1.7@4=-0.01"]),
        ("1.7@-1=0", ["1.7@8=0"]),
        ("1.7@2,-2,4=0", ["1.7@2=0", "1.7@7=0", "1.7@4=0"]),
        ("1.7@6:8=0", ["1.7@6=0", "1.7@7=0"]),
        ("1.7@:2=0", ["1.7@0=0", "1.7@1=0"]),
        ("error.2@5=x0", ["error.2@5=x0"]),
        ("token@5=0", ["token@5=0"]),
        ("neuron.1.30@5=0", ["neuron.1.30@5=0"]),
        ("head.2.3@5=x0", ["head.2.3@5=x0"]),
        ("head.2.3=0", [f"head.2.3@{i}=0" for i in range(9)]),
    ],
)
def test_a_step_is_a_part_its_positions_and_what_it_becomes(tiny, words: str, steps: list[str]) -> None:
    found = read_intervention(bench_of(tiny("llama")), words)
    assert [*map(str, found.steps)] == steps
    assert found.later == ()


def test_several_are_taken_together(tiny) -> None:
    found = read_intervention(bench_of(tiny("llama")), ["1.7@4=0", "head.0.1@3=x2"])
    assert str(found) == "1.7@4=0, head.0.1@3=x2"


def test_an_open_end_reaches_into_what_is_written_later(tiny) -> None:
    bench = bench_of(tiny("llama"))
    found = read_intervention(bench, "1.7@7:=+5")
    assert [*map(str, found.steps)] == ["1.7@7=+5", "1.7@8=+5"]
    assert [str(step.change) for step in found.later] == ["=+5"]
    assert read_intervention(bench, "1.7@9:=+5").steps == ()


def test_without_positions_a_feature_is_multiplied_where_it_is_active(tiny) -> None:
    bench = bench_of(tiny("llama"))
    active = bench.active(1) != 0
    feature = int(active.sum(0).argmax())
    where = active[:, feature].nonzero()[:, 0].tolist()
    found = read_intervention(bench, f"1.{feature}=x0")
    assert [step.part.position for step in found.steps] == where
    nowhere = int((active.sum(0) == 0).nonzero()[0, 0])
    with pytest.raises(CallError, match=f"Feature 1.{nowhere} is active nowhere"):
        read_intervention(bench, f"1.{nowhere}=x0")
    assert len(read_intervention(bench, f"1.{nowhere}=1").steps) == 9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "says no change"),
        ("1.7@4", "says no change"),
        ("1.7@4=", "says no change"),
        ("1.7@4=two", "says no change"),
        ("1.7@4=nan", "says no change"),
        ("1.7@4=x", "says no change"),
        ("7@4=0", "says no change"),
        ("error.1.2@4=0", "says no change"),
        ("token.3@4=0", "says no change"),
        ("head.3@4=0", "says no change"),
        ("1.7@4=1e999", "not finite"),
        ("1.7@=0", "has no position after its @"),
        ("1.7@4-=0", "has no position after its @"),
        ("1.7@1:2:3=0", "has no position after its @"),
        ("1.7@9=0", "There is no position 9: this prompt has 9 tokens, at 0 to 8"),
        ("1.7@-10=0", "There is no position -10"),
        ("1.7@3:3=0", "nothing to change"),
    ],
)
def test_what_says_nothing_gets_a_sentence(tiny, words: str, said: str) -> None:
    with pytest.raises(CallError, match=said):
        read_intervention(bench_of(tiny("llama")), words)


def test_one_part_twice_is_refused(tiny) -> None:
    with pytest.raises(CallError, match=r"1\.7@4 is changed twice"):
        read_intervention(bench_of(tiny("llama")), ["1.7@4=0", "1.7@3:5=1"])
