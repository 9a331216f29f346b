"""The whole room on tiny models: cards that must come out as they do."""

import json
from dataclasses import replace

import pytest
import torch

from micrographia.bases.evaluation.card import Card, EvaluationConfig
from micrographia.bases.evaluation.evaluation import evaluate
from micrographia.bases.evaluation.subject import neurons, subject_of
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.parts import BasisFile
from micrographia.bases.transcoder import Encoder, PerLayer, TranscoderLayer
from micrographia.corpus.corpus import Corpus
from micrographia.errors import CallError, WorkError
from micrographia.ids import Layer
from micrographia.model.edits import at
from micrographia.model.model import Model
from tests.bases.evaluation.bases import RULES, cross_layer, per_layer
from tests.corpus.bytewise import bytewise

SMALL = EvaluationConfig(
    tokens=400,
    train_tokens=600,
    all_layers_tokens=300,
    one_layer_tokens=150,
    prompt_tokens=400,
    slope_tokens=100,
    passage=24,
    short_passage=12,
    batch=100,
    draws=200,
)


def subject(model: Model, basis, name: str = "mine", role="basis", facts: BasisFacts = BasisFacts()):
    return subject_of(BasisFile.of(basis, facts), model, role=role, name=name)


def figures(row, *names: str) -> list[float]:
    return [getattr(row, name).value for name in names]


@pytest.mark.parametrize("case", ["llama", "gemma2", "gpt2", "neox"])
def test_the_card_of_the_neurons_is_perfect(corpus: Corpus, tiny, case: str) -> None:
    model = tiny(case)
    card = evaluate(model, corpus, neurons(model), config=SMALL)
    row = card.rows[0]
    assert figures(row, "fvu", "fvu_median", "loss_added", "kl") == pytest.approx([0, 0, 0, 0], abs=1e-9)
    assert figures(row, "top1", "cosine_random", "cosine_real") == pytest.approx([1, 1, 1])
    assert [row.one_layer_loss.value, row.one_layer_kl.value] == pytest.approx([0, 0], abs=1e-9)
    assert [each.name for each in card.rows] == ["neurons", "linear", "mean", "zero"]
    assert len(row.layers) == 3
    assert all(layer.fvu.value < 1e-20 and abs(layer.loss_added.value) < 1e-9 for layer in row.layers)


def test_a_perfect_transcoder_has_a_perfect_card(corpus: Corpus, rectified: Model) -> None:
    layers = {}
    for layer, block in enumerate(rectified.weights.blocks):
        encoder = Encoder(block.mlp.up.weight, block.mlp.up.bias, RULES["relu"])
        layers[Layer(layer)] = TranscoderLayer(encoder, block.mlp.down.weight.T, block.mlp.down.bias)
    card = evaluate(rectified, corpus, subject(rectified, PerLayer(layers)), config=SMALL)
    row, few = card.rows[:2]
    assert figures(row, "fvu", "loss_added", "kl") == pytest.approx([0, 0, 0], abs=1e-9)
    assert figures(row, "top1", "cosine_random", "cosine_real") == pytest.approx([1, 1, 1])
    assert few.l0.value == pytest.approx(row.l0.value, abs=3.5)
    assert few.fvu.value > 1e-4


def test_a_basis_that_writes_nothing_is_the_zero_row(corpus: Corpus, tiny) -> None:
    model = tiny("llama")
    d = model.anatomy.d_model
    nothing = TranscoderLayer(
        Encoder(torch.zeros(4, d, dtype=torch.float64), torch.zeros(4, dtype=torch.float64), RULES["relu"]),
        torch.zeros(4, d, dtype=torch.float64),
        torch.zeros(d, dtype=torch.float64),
    )
    card = evaluate(model, corpus, subject(model, PerLayer({Layer(i): nothing for i in range(3)})), config=SMALL)
    mine, zero = card.rows[0], card.rows[-1]
    for name in ("fvu", "fvu_pooled", "fvu_median", "loss_added", "kl", "top1", "replacement", "one_layer_loss"):
        assert getattr(mine, name) == getattr(zero, name), name
    assert (mine.dead, mine.dense, mine.l0.value) == (1.0, 0.0, 0.0)
    assert figures(mine, "cosine_random", "cosine_real") == [0, 0]
    apart = next(each for each in card.differences if each.other == "zero")
    assert (apart.fvu.low, apart.fvu.high, apart.loss_added.value) == (0, 0, 0)


def test_what_the_mean_recovers_of_itself_is_nothing(corpus: Corpus, tiny) -> None:
    model = tiny("llama")
    mean = next(row for row in evaluate(model, corpus, neurons(model), config=SMALL).rows if row.name == "mean")
    assert mean.fvu.value == pytest.approx(1, abs=0.1)
    assert mean.recovered_mean is None or mean.recovered_mean.value == 0


def test_the_same_card_comes_out_again(corpus: Corpus, tiny) -> None:
    model = tiny("gemma2")
    one, two, other = (
        evaluate(model, corpus, subject(model, per_layer(model)), config=SMALL.model_copy(update={"seed": seed}))
        for seed in (0, 0, 1)
    )
    assert one == two
    assert one.rows[0].fvu != other.rows[0].fvu
    assert Card.model_validate_json(one.model_dump_json()) == one
    assert "NaN" not in json.dumps(one.model_dump(mode="json"), allow_nan=False)


def test_peers_stand_beside_and_are_compared(corpus: Corpus, tiny) -> None:
    model = tiny("llama")
    basis = subject(model, per_layer(model))
    same, crossed, partial = (
        subject(model, per_layer(model), "same", "peer"),
        subject(model, cross_layer(model, skip=True), "crossed", "peer"),
        subject(model, per_layer(model, layers=(1,)), "partial", "peer", BasisFacts(model="another")),
    )
    card = evaluate(model, corpus, basis, peers=[same, crossed, partial], config=SMALL)
    rows = {row.name: row for row in card.rows}
    assert list(rows)[:4] == ["mine", "same", "crossed", "partial"]
    assert rows["same"].fvu == rows["mine"].fvu
    apart = {each.other: each for each in card.differences}
    assert "partial" not in apart
    assert (apart["same"].fvu.low, apart["same"].top1.high) == (0, 0)
    assert apart["crossed"].fvu.value == pytest.approx(rows["mine"].fvu.value - rows["crossed"].fvu.value)
    assert apart["zero"].loss_added.value == pytest.approx(
        rows["mine"].loss_added.value - rows["zero"].loss_added.value
    )
    assert rows["partial"].recovered_zero is None
    assert [each.layer for each in rows["partial"].layers] == [1]
    notes = "\n".join(card.notes)
    assert "partial leaves out layers 0, 2" in notes
    assert "partial writes to other layers than mine" in notes
    assert "partial says that it is a basis of another" in notes
    assert "Slopes of crossed are those from a layer's input to the same layer's output" in notes
    assert [base.name for base in card.provenance.bases] == ["mine", "same", "crossed", "partial"]


def test_a_peer_may_write_to_more_layers(corpus: Corpus, tiny) -> None:
    model = tiny("llama")
    basis = subject(model, per_layer(model, layers=(1,)))
    card = evaluate(model, corpus, basis, peers=[subject(model, per_layer(model), "whole", "peer")], config=SMALL)
    mine, whole, few = card.rows[:3]
    assert [len(row.layers) for row in (mine, whole, few)] == [1, 3, 1]
    assert whole.layers[1].fvu.value == pytest.approx(mine.layers[0].fvu.value)
    assert mine.one_layer_loss.value == pytest.approx(mine.layers[0].loss_added.value)
    assert abs(mine.loss_added.value - mine.layers[0].loss_added.value) < 0.5


def test_a_rounded_basis_is_compared_with_itself_before(corpus: Corpus, tiny) -> None:
    model = tiny("llama")
    basis = per_layer(model)
    coarse = PerLayer(
        {
            layer: replace(its, decoder=(its.decoder * 8).round() / 8, encoder=its.encoder)
            for layer, its in basis.layers.items()
        }
    )
    card = evaluate(
        model, corpus, subject(model, coarse), unrounded=subject(model, basis, "before", "unrounded"), config=SMALL
    )
    assert card.rounding is not None
    assert "decoder" in card.rounding.where
    apart = next(each for each in card.differences if each.other == "before")
    assert apart.fvu.value == pytest.approx(card.rows[0].fvu.value - card.rows[1].fvu.value)
    assert card.rows[1].role == "unrounded"


def test_samples_say_how_much_was_read(corpus: Corpus, tiny) -> None:
    model = tiny("llama")
    card = evaluate(model, corpus, neurons(model), config=SMALL)
    samples = {each.part: each for each in card.provenance.samples}
    wanted = dict(
        zip(
            (
                "baselines",
                "reconstruction",
                "one layer spliced",
                "all layers spliced",
                "replacement accuracy",
                "slopes",
            ),
            (600, 400, 150, 300, 400, 100),
            strict=True,
        )
    )
    assert all(wanted[part] <= its.positions < wanted[part] + 24 for part, its in samples.items())
    assert "Few documents" in "\n".join(card.notes)


def test_what_cannot_be_judged_is_refused(corpus: Corpus, tiny) -> None:
    model = tiny("llama")
    basis = subject(model, per_layer(model))
    stranger = Model("stranger", model.anatomy, model.weights, bytewise())
    with pytest.raises(CallError, match=r"is written in the tokens of .*, which bytewise"):
        evaluate(stranger, corpus, basis, config=SMALL)
    with pytest.raises(WorkError, match="There is too little text"):
        evaluate(model, corpus, basis, config=EvaluationConfig())
    with pytest.raises(CallError, match="Two of the bases are called mine"):
        evaluate(model, corpus, basis, peers=[subject(model, per_layer(model), role="peer")], config=SMALL)
    with model.attached(edit=at("mlp_out.1").zero()), pytest.raises(CallError, match="edits are attached"):
        evaluate(model, corpus, basis, config=SMALL)
