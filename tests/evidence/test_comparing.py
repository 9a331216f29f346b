"""Two prompts compared: tokens aligned, groups swapped as runs by themselves say, and a set beside its controls."""

import pytest
import torch

from micrographia.bases.neurons import Neurons
from micrographia.errors import CallError
from micrographia.evidence.comparing import Comparison, align, compare
from micrographia.evidence.interventions import Change, Feature, Free, Intervention, Step
from micrographia.evidence.placing import place
from micrographia.evidence.steering import prompt_edits
from micrographia.microscope import Microscope
from micrographia.model.model import Model

A = "t3 t14 t15 t9 t2 t60"


@pytest.fixture
def model(tiny) -> Model:
    return tiny("llama")


def other_prompt(model: Model) -> str:
    """One that is answered differently, by the token before the last or by that one itself."""
    answer = model.run(A, logits="last").answers(top=1)[0].token
    texts = [f"t3 t14 t15 t9 t{i} t{last}" for last in (60, 61, 62, 63) for i in range(2, 40)]
    return next(text for text in texts if model.run(text, logits="last").answers(top=1)[0].token != answer)


def compared(model: Model, a: str = A, b: str | None = None, **options: object) -> Comparison:
    b = b or other_prompt(model)
    scope = Microscope(model, Neurons())
    graphs = tuple(scope.trace(text, max_nodes=400, node_share=1.0) for text in (a, b))
    return compare((scope.bench(a), scope.bench(b)), graphs, **options)


@pytest.mark.parametrize(
    ("a", "b", "pairs"),
    [
        ("t3 t4 t5", "t3 t9 t5", [(0, 0), (1, 1), (2, 2)]),
        ("t3 t4 t6 t5", "t3 t9 t5", [(0, 0), (2, 1), (3, 2)]),
        ("t3 t5", "t3 t9 t5", [(0, 0), (1, 2)]),
        ("t3 t4 t5 t6", "t3 t8 t5 t9", [(0, 0), (1, 1), (2, 2), (3, 3)]),
    ],
)
def test_tokens_are_aligned_and_what_differs_from_its_end_on(
    model: Model, a: str, b: str, pairs: list[tuple[int, int]]
) -> None:
    prompts = [model.tokenizer.prompt(text, bos="none") for text in (a, b)]
    assert list(align(*prompts)) == pairs


def test_a_swap_is_what_a_run_with_these_values_says(model: Model) -> None:
    found = compared(model)
    scope = Microscope(model, Neurons())
    bench, other = scope.bench(A), scope.bench(other_prompt(model))
    one, two = found.answers
    assert (one, two) == tuple(int(each.logits()[-1].argmax()) for each in (bench, other))
    for swap in found.swaps[:3] + found.swaps[-3:]:
        steps = [
            Step(Feature(node.layer, node.index, node.position), Change("set", value))
            for node, value in zip(swap.members, swap.values, strict=True)
        ]
        edits = list(prompt_edits(bench, place(bench, Intervention(tuple(steps)), Free())))
        logits = model.run(bench.prompt, edit=edits).logits[0, -1]
        clean = bench.logits()[-1]
        moved = (logits[two] - logits[one]) - (clean[two] - clean[one])
        assert swap.effect == pytest.approx(float(moved), abs=1e-9)
        for node, value in zip(swap.members, swap.values, strict=True):
            assert value == float(other.active(node.layer)[node.position, node.index])
    assert [swap.effect for swap in found.swaps] == sorted((swap.effect for swap in found.swaps), reverse=True)
    places = [node for swap in found.swaps for node in swap.members]
    assert len(places) == len(set(places)), "a feature is in one group"


def test_the_set_that_was_found_flips_the_answer_or_says_that_it_does_not(model: Model) -> None:
    found = compared(model, controls=20)
    assert found.flips == (found.probabilities[1] > found.probabilities[0])
    assert found.effect == pytest.approx(compared(model, controls=20).effect), "it is the same each time"
    if found.flips and len(found.smallest) > 1:
        assert all(found.gaps[0] + found.effect > 0 for _ in found.smallest)
    assert found.share(found.gaps[1] - found.gaps[0]) == pytest.approx(1.0)
    assert len(found.random.effects) == 20
    assert found.random.flips == sum(found.gaps[0] + effect > 0 for effect in found.random.effects)
    assert torch.tensor(found.others.effects).isfinite().all()


def test_time_that_runs_out_is_said_and_what_was_measured_is_kept(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that goes on by a second at each look: groups have half of the time, the search the rest."""
    b = other_prompt(model)
    whole = compared(model, b=b, controls=20)
    assert (whole.unmeasured, whole.ended) == (0, True)
    assert len(whole.swaps) > 64
    now = iter(float(i) for i in range(10_000))
    monkeypatch.setattr("micrographia.evidence.comparing.time.perf_counter", lambda: next(now))
    some = compared(model, b=b, controls=20, seconds=4.0)
    assert len(some.swaps) == 64
    assert some.unmeasured == len(whole.swaps) - 64
    effects = {swap.members: swap.effect for swap in whole.swaps}
    assert all(swap.effect == pytest.approx(effects[swap.members], abs=1e-9) for swap in some.swaps)
    least = compared(model, b=b, controls=20, seconds=1e-9)
    assert (len(least.swaps), least.ended, least.smallest) == (32, False, least.swaps[:1])
    assert least.random.effects, "controls are run whatever the time"


def test_only_the_layers_that_were_named_are_swapped(model: Model) -> None:
    found = compared(model, layers=(1, 1), controls=20)
    assert {node.layer for swap in found.swaps for node in swap.members} == {1}


def test_what_cannot_be_compared_is_refused(model: Model) -> None:
    with pytest.raises(CallError, match="so there is no answer to flip"):
        compared(model, A, A)
    with pytest.raises(CallError, match="so there is nothing to swap"):
        compared(model, layers=(7, 9))
