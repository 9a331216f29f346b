"""Induction heads: found by their score, then put to the test by ablation, beside random heads.

    python examples/induction.py [--heads 8] [--draws 40]

An induction head looks from a token to what followed its earlier copy. If the heads with the highest induction
score do that job, then ablating them must destroy the prediction of repeated random tokens, where nothing else
can help, while ablating as many random heads must not. Each head is ablated by putting its mean output over the
same sequences in place of its output. Heads are found on one set of sequences and tested on another.
"""

import argparse
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

import micrographia as mg
from micrographia.model.heads import repeated_prompts

LENGTH = 32
Heads = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Copying:
    """How well the second saying of a random sequence is predicted."""

    accuracy: float
    loss: float


def copying(model: mg.Model, prompts: Sequence[mg.Prompt], edits: Sequence[mg.Edit] = ()) -> Copying:
    """Next-token accuracy and loss (nats) over the second saying, from its second token on."""
    run = model.run(prompts, edit=edits)
    predicted = run.logits[:, -LENGTH:-1].log_softmax(-1)
    actual = run.batch.ids[:, -LENGTH + 1 :]
    loss = -predicted.gather(-1, actual[..., None]).mean()
    return Copying(float((predicted.argmax(-1) == actual).float().mean()), float(loss))


def ablation(heads: Heads, reference: mg.Run) -> list[mg.Edit]:
    layers = sorted({layer for layer, _ in heads})
    return [
        mg.at(f"z.{layer}", heads=[head for place, head in heads if place == layer]).mean(reference) for layer in layers
    ]


def random_heads(model: mg.Model, like: Heads, draw: int) -> Heads:
    """As many heads in the same layers, none of them among those tested."""
    chooser = random.Random(draw)
    picked: list[tuple[int, int]] = []
    for layer in sorted({layer for layer, _ in like}):
        n = sum(1 for other, _ in like if other == layer)
        rest = [(layer, h) for h in range(model.anatomy.n_heads) if (layer, h) not in like]
        picked += chooser.sample(rest, n)
    return picked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--model")
    chosen = parser.parse_args()
    scope = mg.open(chosen.model)
    model = scope.model
    scores = scope.heads("The cat sat on the mat.", n_repeated=chosen.sequences, seed=1)
    found = scores.top("induction", chosen.heads)
    prompts = repeated_prompts(model, n=chosen.sequences, length=LENGTH, seed=2)
    reference = model.run(prompts, read=["z"], logits="none")
    before = copying(model, prompts)
    after = copying(model, prompts, ablation(found, reference))
    controls = [
        copying(model, prompts, ablation(random_heads(model, found, draw), reference)) for draw in range(chosen.draws)
    ]
    print("induction heads:", ", ".join(f"{layer}.{h} ({float(scores.induction[layer, h]):.2f})" for layer, h in found))
    print(f"uniform attention would score {float(scores.uniform['induction'].mean()):.3f}\n")
    print(f"{'ablated':<40} {'accuracy':>8} {'loss':>7}")
    print(f"{'nothing':<40} {before.accuracy:>8.3f} {before.loss:>7.2f}")
    print(f"{f'the {chosen.heads} induction heads':<40} {after.accuracy:>8.3f} {after.loss:>7.2f}")
    label = f"{chosen.heads} random heads, same layers: median"
    accuracies, losses = sorted(c.accuracy for c in controls), sorted(c.loss for c in controls)
    print(f"{label:<40} {statistics.median(accuracies):>8.3f} {statistics.median(losses):>7.2f}")
    print(f"{f'  worst of {chosen.draws} draws':<40} {accuracies[0]:>8.3f} {losses[-1]:>7.2f}")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
