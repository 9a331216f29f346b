"""What is explained is what was meant: each target's value is a number of the clean run."""

import pytest
import torch

from micrographia.errors import CallError
from micrographia.graph.select import Everything
from micrographia.graph.targets import (
    Combination,
    Continuation,
    Direction,
    OfFeature,
    Tokens,
    difference,
    resolve,
)
from micrographia.graph.tracing import trace
from micrographia.ids import Layer
from micrographia.model.edits import at
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from tests.graph.oracle import basis_for, prompt

EXACT = 1e-9


def found(model: Model):
    return basis_for("skip", model).decompose(freeze(model, prompt(model)))


def rows(model: Model, target):
    return resolve(target, found(model), model.tokenizer)


def test_the_likeliest_tokens_until_they_have_the_share(model: Model) -> None:
    probabilities = model.run(prompt(model), logits="last").logits[0, 0].softmax(-1)
    best = probabilities.sort(descending=True)
    several = rows(model, Tokens(share=0.3))
    assert [row.token for row in several] == best.indices[: len(several)].tolist()
    reached = float(best.values[: len(several)].sum())
    assert reached >= 0.3 > reached - several[-1].probability
    assert sum(row.weight for row in several) == pytest.approx(1)
    assert [row.weight * reached for row in several] == pytest.approx([row.probability for row in several])
    assert len(rows(model, None)) == 10


def test_a_logit_is_read_less_the_mean_of_all(model: Model) -> None:
    logits = model.run(prompt(model)).logits[0]
    for target, wanted in (
        ("t7", logits[-1, 7] - logits[-1].mean()),
        (7, logits[-1, 7] - logits[-1].mean()),
        (Tokens((9,), positions=3), logits[3, 9] - logits[3].mean()),
        (Tokens((9,), positions=(1, -2)), logits[[1, -2], 9].sum() - logits[[1, -2]].mean(-1).sum()),
        (Tokens((9,), positions=slice(2, 5)), (logits[2:5, 9] - logits[2:5].mean(-1)).sum()),
        (difference("t7", 9), logits[-1, 7] - logits[-1, 9]),
        (Combination((5, 6, 7), (0.5, 0.5, -1.0)), logits[-1, 5] / 2 + logits[-1, 6] / 2 - logits[-1, 7]),
    ):
        [row] = rows(model, target)
        assert abs(row.value - float(wanted)) <= EXACT


def test_a_direction_and_a_feature_are_read_where_they_are(model: Model) -> None:
    vector = torch.randn(model.anatomy.d_model, dtype=torch.float64)
    stream = model.run(prompt(model), read=["resid_post"])["resid_post.1"][0]
    [row] = rows(model, Direction(vector, 1, positions=(2, 4)))
    assert abs(row.value - float(vector @ (stream[2] + stream[4]))) <= EXACT
    layer = found(model).layers[2]
    feature, place = int(layer.feature[3]), int(layer.position[3])
    [row] = rows(model, OfFeature(2, feature, place))
    assert row.value == float(layer.activation[3])
    assert row.name == f"2.{feature}@{place}"


@pytest.mark.parametrize("kind", ["direction", "feature", "span", "difference"])
def test_the_books_of_every_kind_of_target_balance(model: Model, kind: str) -> None:
    layer = found(model).layers[1]
    target = {
        "direction": Direction(torch.ones(model.anatomy.d_model, dtype=torch.float64), 0, positions=(0, 5)),
        "feature": OfFeature(1, int(layer.feature[-1]), int(layer.position[-1])),
        "span": Tokens((4, 5), positions=slice(3, None), weights=(1.0, 3.0)),
        "difference": difference(4, 5, 2),
    }[kind]
    whole = trace(model, basis_for("skip", model), prompt(model), target=target, selection=Everything())
    assert whole.imbalance().abs().max() <= EXACT
    if kind == "feature":
        same = whole.nodes.find(whole.targets[0].name)
        assert (whole.rows[-1] - whole.rows[same]).abs().max() <= EXACT


def test_a_continuation_has_a_row_for_each_of_its_tokens(tiny) -> None:
    model = tiny("llama")
    whole = trace(model, basis_for("skip", model), prompt(model), target=Continuation("t5 t6 t7"), max_nodes=10)
    n = len(prompt(model).ids)
    assert list(whole.prompt.ids) == [*prompt(model).ids, 5, 6]
    assert [(row.token, row.position) for row in whole.targets] == [(5, n - 1), (6, n), (7, n + 1)]
    assert whole.weights.tolist() == pytest.approx([1 / 3] * 3)


def test_what_cannot_be_explained_gets_a_sentence(tiny) -> None:
    model = tiny("llama")
    for target, said in (
        (OfFeature(1, 10**6, 2), "is not active at position 2"),
        (OfFeature(7, 0, 2), "no layer 7"),
        (Direction(torch.ones(3), 0), "24 entries"),
        (Direction(torch.ones(24), 3), "no layer 3"),
        (Tokens((3,), positions=-10), "no position -10"),
        (Tokens((3,), weights=(1.0, 2.0)), "one for each token"),
        (Combination((3,), ()), "one coefficient"),
        (Continuation(()), "empty"),
    ):
        with pytest.raises(CallError, match=said):
            trace(model, basis_for("skip", model), prompt(model), target=target)


def test_a_soft_capped_logit_is_read_through_its_slope(tiny) -> None:
    """Exact on the clean run, and to first order beside it."""
    model = tiny("gemma2")
    [row] = rows(model, difference(7, 9))
    step = 1e-6 * torch.randn(model.anatomy.d_model, dtype=torch.float64)
    scale = model.run(prompt(model), read=["final_norm_scale"])["final_norm_scale"]
    last = Layer(model.anatomy.n_layers - 1)
    edits = [at(f"resid_post.{last}", positions=[-1]).add(step), at("final_norm_scale").set(scale)]
    moved = (model.run(prompt(model), edit=edits).logits - clean_logits(model))[0, -1]
    cap = model.anatomy.logit_cap
    capped = clean_logits(model)[0, -1]
    tangent, held = 1 - (capped / cap) ** 2, found(model).frozen.logit_slope[-1]
    uncapped = moved / tangent
    wanted = uncapped[7] * held[7] - uncapped[9] * held[9]
    assert abs(float(row.injections[0].vector @ step) - float(wanted)) <= 1e-11


def clean_logits(model: Model) -> torch.Tensor:
    return model.run(prompt(model)).logits
