"""Interventions while writing on: at the prompt's positions, and at every token that comes after it."""

import pytest
import torch

from micrographia.errors import CallError
from micrographia.evidence.interventions import (
    Change,
    Direction,
    Error,
    Feature,
    Free,
    Head,
    Intervention,
    Neuron,
    Part,
    Step,
)
from micrographia.evidence.placing import Placed, place
from micrographia.evidence.steering import steering
from tests.evidence.test_rows import bench_of, some_features

NEW = 5


@pytest.mark.parametrize("basis", ["neurons", "skip"])
@pytest.mark.parametrize("kind", ["feature", "neuron", "head", "direction"])
def test_steering_is_the_same_with_and_without_a_cache_and_as_one_longer_prompt(tiny, basis: str, kind: str) -> None:
    """What is written under an intervention is written again by a free run of the whole text, intervened on."""
    bench = bench_of(tiny("llama"), basis)
    model, n = bench.model, bench.n_positions
    [feature] = some_features(bench, (1,))
    vector = torch.arange(24, dtype=torch.float64) - 9
    parts: dict[str, Part] = {
        "feature": feature,
        "neuron": Neuron(1, 4, 3),
        "head": Head(1, 2, 3),
        "direction": Direction(1, 3, vector),
    }
    part = parts[kind]
    change = Change("set", 6.0) if kind in ("feature", "neuron") else Change("add", 4.0)
    whole = Intervention((Step(part, change),), (Step(part, change),))
    edits = steering(bench, whole, place(bench, whole, Free()))
    cached = model.generate(bench.prompt, max_new=NEW, edit=edits, stop=())
    uncached = model.generate(bench.prompt, max_new=NEW, edit=edits, stop=(), cached=False)
    assert cached.ids == uncached.ids
    longer = model.tokenizer.from_ids([*bench.prompt.ids, *cached.ids])
    logits = model.run(longer, edit=edits).logits[0]
    assert tuple(logits[n - 1 : -1].argmax(-1).tolist()) == cached.ids
    plain = model.run(longer).logits[0]
    assert (logits - plain)[n:].abs().max() > 1e-3


def test_a_feature_behind_the_prompt_is_put_to_its_value_whatever_it_is(tiny) -> None:
    """By hand: its old value taken out of the MLP's output, the new one put in."""
    bench = bench_of(tiny("llama"), "skip")
    model = bench.model
    longer = model.tokenizer.from_ids([*bench.prompt.ids, 7, 8])
    for change, new in ((Change("set", 2.0), 2.0), (Change("scale", 3.0), None), (Change("add", 1.0), None)):
        steps = Intervention((), (Step(Feature(1, 9, -1), change),))
        edits = steering(bench, steps, Placed())
        run = model.run(longer, edit=edits, read=["mlp_in", "mlp_out", "resid_mid"])
        clean = model.run(longer, read=["mlp_in", "mlp_out"])
        encode = bench.encoder(1)
        old = encode(clean["mlp_in.1"][0])[:, 9]
        value = {"set": torch.full_like(old, 2.0), "scale": 3 * old, "add": old + 1}[change.how]
        moved = (value - old)[:, None] * bench.write(1, [9], 0, 1)
        moved[: bench.n_positions] = 0
        assert torch.allclose(run["mlp_out.1"][0], clean["mlp_out.1"][0] + moved, atol=1e-12)
        assert new is None or float(value[-1]) == new


def test_what_is_of_the_prompt_cannot_be_changed_behind_it(tiny) -> None:
    bench = bench_of(tiny("llama"))
    step = Step(Error(1, 3), Change("scale", 0.0))
    with pytest.raises(CallError, match=r"error\.1@3 is of the prompt"):
        steering(bench, Intervention((), (step,)), Placed())
