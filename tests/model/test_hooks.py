"""Every activation goes through one gate: editors first, in order, then readers, and what does not fit stops there."""

import pytest
import torch
from torch import Tensor

from micrographia.errors import EditError
from micrographia.ids import Layer
from micrographia.model import forward
from micrographia.model.edits import at
from micrographia.model.hooks import Editor, Gate, Hooks, Reader, checked, joined
from micrographia.model.site import Point, Site

HERE, ELSEWHERE = Site(Point.RESID_POST, Layer(1)), Site(Point.RESID_POST, Layer(0))
ACT = torch.arange(6.0).view(1, 2, 3)


def plus(amount: float) -> Editor:
    return lambda act, site: act + amount


def times(factor: float) -> Editor:
    return lambda act, site: act * factor


def test_editors_run_in_order_and_readers_see_what_they_left() -> None:
    seen: list[Tensor] = []
    gate = Gate(Hooks({HERE: [lambda act, site: seen.append(act)]}, {HERE: [plus(1.0), times(10.0)]}))
    passed = gate(Point.RESID_POST, Layer(1), ACT)
    assert torch.equal(passed, (ACT + 1) * 10)
    assert seen[0] is passed


def test_hooks_are_told_where_they_are() -> None:
    told: list[Site] = []

    def edit(act: Tensor, site: Site, /) -> Tensor:
        told.append(site)
        return act

    gate = Gate(Hooks({Site(Point.LOGITS): [lambda act, site: told.append(site)]}, {HERE: [edit]}))
    gate(Point.RESID_POST, Layer(1), ACT)
    gate(Point.LOGITS, None, ACT)
    assert told == [HERE, Site(Point.LOGITS)]


def test_what_nobody_watches_passes_untouched() -> None:
    gate = Gate(Hooks({HERE: [lambda act, site: pytest.fail("a reader of another site")]}, {HERE: [plus(1.0)]}))
    assert gate(Point.RESID_POST, Layer(0), ACT) is ACT
    assert gate(Point.RESID_PRE, Layer(1), ACT) is ACT
    assert not gate.watched(Point.RESID_POST, Layer(0))
    assert not gate.edits(Point.RESID_PRE, Layer(1))


def test_the_gate_knows_who_reads_and_who_edits() -> None:
    gate = Gate(Hooks({HERE: [lambda act, site: None]}, {ELSEWHERE: [plus(1.0)]}))
    assert gate.watched(Point.RESID_POST, Layer(1))
    assert not gate.edits(Point.RESID_POST, Layer(1))
    assert gate.watched(Point.RESID_POST, Layer(0))
    assert gate.edits(Point.RESID_POST, Layer(0))


def test_joined_hooks_run_the_first_ones_before_the_second_ones() -> None:
    seen: list[str] = []
    first = Hooks({HERE: [lambda act, site: seen.append("first")]}, {HERE: [plus(1.0)]})
    second = Hooks(
        {HERE: [lambda act, site: seen.append("second")], ELSEWHERE: [lambda act, site: seen.append("else")]},
        {HERE: [times(10.0)]},
    )
    gate = Gate(joined(first, second))
    assert torch.equal(gate(Point.RESID_POST, Layer(1), ACT), (ACT + 1) * 10)
    gate(Point.RESID_POST, Layer(0), ACT)
    assert seen == ["first", "second", "else"]


def test_an_edit_that_does_not_fit_stops_at_the_gate() -> None:
    for wrong, said in (
        (None, "returned NoneType; it must return the new activation"),
        (ACT[:, :1], r"returned shape \(1, 1, 3\); the activation there is \[batch pos d_model\] = \(1, 2, 3\)"),
        (ACT.double(), "returned torch.float64 on cpu; the activation is torch.float32 on cpu"),
        (ACT.to("meta"), "returned torch.float32 on meta"),
    ):
        with pytest.raises(EditError, match=f"The editor at resid_post.1 {said}"):
            checked(wrong, ACT, HERE)
    assert checked(ACT, ACT, HERE) is ACT


def test_the_second_editor_is_held_to_what_the_first_one_left() -> None:
    gate = Gate(Hooks({}, {HERE: [plus(1.0), lambda act, site: act[0]]}))
    with pytest.raises(EditError, match=r"returned shape \(2, 3\)"):
        gate(Point.RESID_POST, Layer(1), ACT)


def test_any_function_of_the_right_form_is_a_hook() -> None:
    assert isinstance(plus(1.0), Editor)
    assert isinstance(seen := [].append, Reader), seen


def test_what_only_watching_needs_is_not_computed(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fused kernel gives no pattern; without a watcher nobody pays for one."""
    model = tiny("llama")
    plain = model.run("t3 t4 t5").logits

    def refuse(*args: object) -> Tensor:
        raise AssertionError("a pattern was computed")

    monkeypatch.setattr(forward, "_pattern", refuse)
    assert torch.equal(model.run("t3 t4 t5", read=["z", "q", "k_rot", "resid_post"]).logits, plain)
    for wanted in ({"read": ["pattern.1"]}, {"edit": [at("scores.2").zero()]}):
        with pytest.raises(AssertionError, match="a pattern was computed"):
            model.run("t3 t4 t5", **wanted)
