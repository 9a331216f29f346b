"""What if: answers before and after, features that change with it, and what is written then."""

import pytest
import torch

from micrographia.errors import CallError
from micrographia.evidence.interventions import Change, Constrained, Free, Intervention, Iterative, Step
from micrographia.evidence.notation import read_intervention
from micrographia.evidence.placing import place
from micrographia.evidence.steering import prompt_edits
from micrographia.evidence.whatif import what_if
from micrographia.ids import TokenId
from tests.evidence.test_rows import bench_of, some_features


def gone(bench, seed: int = 6) -> Intervention:
    part = next(one for i in range(9) for one in some_features(bench, (0,), seed + i) if one.position < 6)
    return Intervention((Step(part, Change("scale", 0.0)),))


@pytest.mark.parametrize("basis", ["neurons", "skip"])
def test_before_and_after_are_the_models_own_answers(tiny, basis: str) -> None:
    bench = bench_of(tiny("gemma2"), basis)
    step = gone(bench)
    found = what_if(bench, step, tokens=[TokenId(33)], top=3)
    run = bench.model.run(bench.prompt, edit=list(prompt_edits(bench, place(bench, step, Free()))))
    before, after = bench.logits()[-1], run.logits[0, -1]
    for word in found.words:
        assert word.before == pytest.approx(float(before.softmax(-1)[word.token]), abs=1e-12)
        assert word.after == pytest.approx(float(after.softmax(-1)[word.token]), abs=1e-12)
        moved = (after - after.mean()) - (before - before.mean())
        assert word.logit == pytest.approx(float(moved[word.token]), abs=1e-12)
    tokens = {word.token for word in found.words}
    assert tokens == {33, *before.topk(3).indices.tolist(), *after.topk(3).indices.tolist()}
    assert [(shift.clean, shift.new) for shift in found.shifts] == [(pytest.approx(found.shifts[0].clean), 0.0)]
    assert found.written is None


@pytest.mark.parametrize("basis", ["neurons", "skip"])
def test_features_that_change_with_it_are_read_on_the_changed_run(tiny, basis: str) -> None:
    bench = bench_of(tiny("llama"), basis)
    step = gone(bench)
    edits = list(prompt_edits(bench, place(bench, step, Free())))
    run = bench.model.run(bench.prompt, edit=edits, read=["mlp_in"])
    changes: dict[str, tuple[float, float, float]] = {}
    for layer in range(3):
        new = bench.encoder(layer)(run[f"mlp_in.{layer}"][0])
        for position in range(9):
            lengths = bench.write(layer, list(range(bench.n_features(layer))), position, layer).norm(dim=1)
            for index in (new[position] != bench.active(layer)[position]).nonzero()[:, 0].tolist():
                old, now = float(bench.active(layer)[position, index]), float(new[position, index])
                changes[f"{layer}.{index}@{position}"] = (old, now, abs(now - old) * float(lengths[index]))
    touched = step.steps[0].part
    listed = sorted(
        (size, name)
        for name, (_, _, size) in changes.items()
        if name.split(".")[0] != "0" or not name.endswith(f"@{touched.position}")
    )
    found = what_if(bench, step, features=7)
    assert [str(one.feature) for one in found.changed] == [name for _, name in listed[::-1][:7]]
    for one in found.changed:
        assert (one.before, one.after, one.written) == pytest.approx(changes[str(one.feature)], abs=1e-10)
    assert what_if(bench, step, features=0).changed == ()


def test_it_writes_on_under_the_intervention(tiny) -> None:
    bench = bench_of(tiny("llama"), "skip")
    step = read_intervention(bench, "1.7@3:=40")
    found = what_if(bench, step, max_new=6)
    assert found.written is not None
    assert found.written[0] == bench.model.generate(bench.prompt, max_new=6).text
    assert found.written[0] != found.written[1]
    later = what_if(bench, read_intervention(bench, "1.7@9:=40"), max_new=6)
    assert later.shifts == ()
    assert all(word.before == word.after for word in later.words)
    assert later.written != found.written


def test_the_mode_decides(tiny) -> None:
    bench = bench_of(tiny("llama"), "skip")
    after = {
        mode.kind: torch.tensor([word.after for word in what_if(bench, gone(bench), mode, top=80).words])
        for mode in (Free(), Iterative(), Constrained())
    }
    assert not torch.allclose(after["free"].sort().values, after["iterative"].sort().values, atol=1e-9)
    assert not torch.allclose(after["free"].sort().values, after["constrained"].sort().values, atol=1e-9)


def test_a_call_that_cannot_be_answered_is_refused(tiny) -> None:
    bench = bench_of(tiny("llama"))
    with pytest.raises(CallError, match="Only the free mode can write on"):
        what_if(bench, gone(bench), Iterative(), max_new=3)
    with pytest.raises(CallError, match="ask for new tokens"):
        what_if(bench, read_intervention(bench, "1.7@9:=4"))
    with pytest.raises(CallError, match="There is no position 9"):
        what_if(bench, gone(bench), position=9)
