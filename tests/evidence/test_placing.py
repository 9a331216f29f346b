"""Working an intervention out: clean values found, places touched, and what is not there refused in a sentence."""

import pytest
import torch

from micrographia.errors import CallError
from micrographia.evidence.interventions import (
    Change,
    Constrained,
    Direction,
    Error,
    Feature,
    Free,
    Head,
    Intervention,
    Iterative,
    Mode,
    Neuron,
    Part,
    Step,
    Token,
)
from micrographia.evidence.placing import Placed, place
from tests.evidence.test_rows import bench_of, some_features


def placed_on(tiny, part: Part, change: Change, mode: Mode | None = None, basis: str = "per-layer") -> Placed:
    return place(bench_of(tiny("llama"), basis), Intervention((Step(part, change),)), mode or Free())


def test_every_part_has_a_clean_value_along_a_vector_of_its_own(tiny) -> None:
    bench = bench_of(tiny("llama"))
    [part] = some_features(bench, (1,))
    run = bench.model.run(bench.prompt, read=["post", "z", "resid_post", "embed"])
    vector = torch.arange(24, dtype=torch.float64)
    clean = {
        part: bench.active(1)[part.position, part.index],
        Error(2, 3): bench.found.layers[2].error[3].norm(),
        Token(4): run["embed"][0, 4].norm(),
        Neuron(1, 7, 3): run["post.1"][0, 3, 7],
        Head(2, 1, 5): run["z.2"][0, 5, 1].norm(),
        Direction(0, 6, vector): run["resid_post.0"][0, 6] @ vector / vector.norm(),
    }
    for one, value in clean.items():
        [shift] = place(bench, Intervention((Step(one, Change("add", 1.0)),)), Free()).shifts
        assert shift.clean == pytest.approx(float(value), abs=1e-10)
        assert shift.new == pytest.approx(shift.clean + 1)


def test_features_at_one_place_are_written_together(tiny) -> None:
    bench = bench_of(tiny("llama"))
    here = [Feature(1, index, 4) for index in bench.active(1)[4].nonzero()[:2, 0].tolist()]
    both = place(bench, Intervention(tuple(Step(part, Change("scale", 0.0)) for part in here)), Free())
    alone = [place(bench, Intervention((Step(part, Change("scale", 0.0)),)), Free()) for part in here]
    assert torch.allclose(both.written[1, 4], alone[0].written[1, 4] + alone[1].written[1, 4], atol=1e-14)
    assert (both.layer, both.position) == (1, 4)


def test_a_feature_that_is_not_active_can_be_switched_on_and_not_multiplied(tiny) -> None:
    bench = bench_of(tiny("llama"))
    silent = int((bench.active(1)[4] == 0).nonzero()[0, 0])
    placed = placed_on(tiny, Feature(1, silent, 4), Change("set", 2.0))
    assert torch.allclose(placed.written[1, 4], 2 * bench.write(1, [silent], 4, 1)[0])
    with pytest.raises(CallError, match=rf"Feature 1.{silent} is not active at position 4, where \d+ others are"):
        placed_on(tiny, Feature(1, silent, 4), Change("scale", 2.0))


@pytest.mark.parametrize(
    ("part", "mode", "basis", "said"),
    [
        (Feature(1, 3, 9), Free(), "per-layer", "no position 9: this prompt has 9 tokens, at 0 to 8"),
        (Feature(1, 3, -1), Free(), "per-layer", "no position -1"),
        (Feature(7, 3, 1), Free(), "per-layer", "no layer 7: this model has the layers 0 to 2"),
        (Feature(1, 50, 1), Free(), "per-layer", "no feature 50 in layer 1: it has 50, 0 to 49"),
        (Feature(1, 3, 1), Free(), "gaps", "The basis leaves out layer 1. It has features at 0, 2."),
        (Error(5, 1), Free(), "per-layer", "no layer 5"),
        (Error(1, 1), Free(), "neurons", "no error at layer 1, position 1: the basis is exact there"),
        (Head(1, 4, 1), Free(), "per-layer", "no head 4 in layer 1: it has 4, 0 to 3"),
        (Neuron(1, 40, 1), Free(), "per-layer", "no neuron 40 in layer 1: it has 40, 0 to 39"),
        (Neuron(1, 4, 1), Iterative(), "per-layer", "no feature of this basis"),
        (Direction(1, 1, torch.zeros(24)), Free(), "per-layer", "A direction has 24 entries here, not all of them 0"),
        (Direction(1, 1, torch.ones(23)), Free(), "per-layer", "A direction has 24 entries"),
        (Error(0, 1), Constrained(1, 2), "per-layer", "outside the layers that are held, 1 to 2"),
        (Feature(1, 3, 1), Constrained(2, 5), "per-layer", "There are no layers 2 to 5 to be held"),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(tiny, part: Part, mode: Mode, basis: str, said: str) -> None:
    with pytest.raises(CallError, match=said):
        placed_on(tiny, part, Change("set", 0.0), mode, basis)
