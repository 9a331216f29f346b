"""The induction heads that the example finds do the work: without them, and only without them, copying ends."""

import subprocess
import sys

import micrographia as mg
from examples.induction import LENGTH, ablation, copying, random_heads
from micrographia.model.heads import repeated_prompts
from tests.house.tree import REPOSITORY

SEQUENCES, DRAWS = 2, 5
SOME = ((17, 3), (17, 4), (17, 5), (18, 6), (18, 7), (24, 4))


def test_ablating_induction_heads_ends_copying_and_ablating_random_heads_does_not(smollm2: mg.Microscope) -> None:
    """Heads are found on some sequences and tested on others."""
    model = smollm2.model
    scores = smollm2.heads("The cat sat on the mat.", n_repeated=SEQUENCES, seed=1)
    found = scores.top("induction", 8)
    assert min(float(scores.induction[place]) for place in found) > 10 / LENGTH, (
        "uniform attention gets a tenth of this"
    )
    prompts = repeated_prompts(model, n=SEQUENCES, length=LENGTH, seed=2)
    reference = model.run(prompts, read=["z"], logits="none")
    before = copying(model, prompts)
    after = copying(model, prompts, ablation(found, reference))
    assert before.accuracy > 0.6
    assert after.accuracy < 0.25 * before.accuracy
    assert after.loss > before.loss + 3
    for draw in range(DRAWS):
        control = copying(model, prompts, ablation(random_heads(model, found, draw), reference))
        assert control.accuracy > 0.75 * before.accuracy
        assert control.loss < before.loss + 1


def test_the_random_heads_match_the_tested_ones_layer_by_layer(smollm2: mg.Microscope) -> None:
    draws = [random_heads(smollm2.model, SOME, draw) for draw in range(20)]
    for drawn in draws:
        assert sorted(layer for layer, _ in drawn) == sorted(layer for layer, _ in SOME)
        assert len(set(drawn)) == len(drawn)
        assert not set(drawn) & set(SOME)
    assert len({tuple(drawn) for drawn in draws}) > 10
    assert random_heads(smollm2.model, SOME, 7) == draws[7]


def test_the_example_says_how_it_is_called() -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / "induction.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "python examples/induction.py [--heads 8] [--draws 40]" in done.stdout
