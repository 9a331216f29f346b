"""Losses, KL and agreement of a spliced model, against logits computed in full by the model's own run."""

import pytest
import torch

from micrographia.bases.evaluation import splice
from micrographia.bases.evaluation.baselines import ConstantStandIn
from micrographia.bases.evaluation.splice import logits_of, splice_everywhere, splice_one_layer
from micrographia.bases.evaluation.standin import CrossLayerStandIn, NeuronStandIn, PerLayerStandIn
from micrographia.errors import WorkError
from micrographia.ids import Layer
from micrographia.model.edits import at
from micrographia.model.model import Model
from micrographia.store import silent
from tests.bases.evaluation.bases import cross_layer, per_layer, some_passages

EXACT = 1e-9
LENGTHS = (9, 6, 12, 4)


def nothing(model: Model, layers=(0, 1, 2)) -> ConstantStandIn:
    zero = torch.zeros(model.anatomy.d_model, dtype=torch.float64)
    return ConstantStandIn({Layer(layer): zero for layer in layers})


def judged_in_full(model: Model, passages, edits):
    """Per passage: loss, KL and agreement, summed over positions 1 to the last but one."""
    rows = []
    for passage in passages.passages:
        prompt = model.tokenizer.from_ids(passage.ids)
        clean, spliced = (model.run(prompt, edit=edit).logits[0, 1:-1].log_softmax(-1) for edit in ([], edits))
        targets = torch.tensor(passage.ids[2:])[:, None]
        kl = (clean.exp() * (clean - spliced)).sum()
        same = (clean.argmax(-1) == spliced.argmax(-1)).sum()
        losses = [-each.gather(-1, targets).sum() for each in (spliced, clean)]
        rows.append([*losses, kl, same])
    return torch.tensor(rows)


def assert_sums(found, column: int, expected) -> None:
    assert (found.loss[:, column] - expected[:, 0]).abs().max() <= EXACT
    assert (found.clean_loss - expected[:, 1]).abs().max() <= EXACT
    assert (found.kl[:, column] - expected[:, 2]).abs().max() <= EXACT
    assert torch.equal(found.agreed[:, column], expected[:, 3])


def written_over(model: Model, basis, layers):
    """Edits that put a basis in the place of MLPs, all but position 0."""
    inputs: dict[int, torch.Tensor] = {}

    def hold(act, site, /):
        inputs[site.layer] = act
        return act

    def write(act, site, /):
        new = basis.layers[site.layer](inputs[site.layer][0])[None]
        return torch.cat([act[:, :1], new[:, 1:]], dim=1)

    return [at("mlp_in").apply(hold), *(at(f"mlp_out.{layer}").apply(write) for layer in layers)]


def test_one_layer_after_the_other(model: Model) -> None:
    passages, basis = some_passages(*LENGTHS), per_layer(model, skip=True, layers=(0, 2))
    (found,) = splice_one_layer(model, passages, [PerLayerStandIn(basis)], progress=silent)
    for column, layer in enumerate((0, 2)):
        assert_sums(found, column, judged_in_full(model, passages, written_over(model, basis, [layer])))
    assert found.positions.tolist() == [length - 2 for length in LENGTHS]


def test_all_layers_at_once(model: Model) -> None:
    passages, basis = some_passages(*LENGTHS), per_layer(model, skip=True)
    (found,) = splice_everywhere(model, passages, [PerLayerStandIn(basis)], progress=silent)
    assert_sums(found, 0, judged_in_full(model, passages, written_over(model, basis, [0, 1, 2])))


def test_one_layer_of_a_cross_layer_basis_has_clean_features_below(tiny) -> None:
    model, passages, basis = tiny("llama"), some_passages(*LENGTHS), cross_layer(tiny("llama"))
    (found,) = splice_one_layer(model, passages, [CrossLayerStandIn(basis, 3)], progress=silent)
    inputs: dict[int, torch.Tensor] = {}

    def hold(act, site, /):
        inputs[site.layer] = act[0]
        return act

    def write(act, site, /):
        new = basis.biases[Layer(2)] + sum(
            encoder(inputs[layer]) @ basis.decoders[layer][2 - layer] for layer, encoder in basis.encoders.items()
        )
        return torch.cat([act[:, :1], new[None, 1:]], dim=1)

    edits = [at("mlp_in").apply(hold), at("mlp_out.2").apply(write)]
    assert_sums(found, 2, judged_in_full(model, passages, edits))


@pytest.mark.parametrize("case", ["llama", "gemma2", "gpt2", "neox"])
def test_writing_nothing_is_zero_ablation(tiny, case: str) -> None:
    model, passages = tiny(case), some_passages(*LENGTHS)
    (alone,) = splice_one_layer(model, passages, [nothing(model)], progress=silent)
    (together,) = splice_everywhere(model, passages, [nothing(model)], progress=silent)
    for layer in range(3):
        edit = at(f"mlp_out.{layer}", positions=slice(1, None)).zero()
        assert_sums(alone, layer, judged_in_full(model, passages, [edit]))
    assert_sums(together, 0, judged_in_full(model, passages, [at("mlp_out", positions=slice(1, None)).zero()]))


def test_neurons_cost_nothing(model: Model) -> None:
    passages = some_passages(*LENGTHS)
    for found in (
        splice_one_layer(model, passages, [NeuronStandIn(model)], progress=silent)[0],
        splice_everywhere(model, passages, [NeuronStandIn(model)], progress=silent)[0],
    ):
        assert (found.loss - found.clean_loss[:, None]).abs().max() <= EXACT
        assert found.kl.abs().max() <= EXACT
        assert (found.agreed == found.positions[:, None]).all()


def test_pieces_of_any_size_give_the_same_sums(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model, passages = tiny("gemma2"), some_passages(*LENGTHS, documents=2)
    stand_ins = [PerLayerStandIn(per_layer(model)), nothing(model, (1,))]
    whole = splice_one_layer(model, passages, stand_ins, progress=silent)
    monkeypatch.setattr(splice, "_CHUNK", 3 * model.anatomy.d_vocab)
    monkeypatch.setattr(splice, "_HELD", 10 * model.anatomy.d_vocab)
    for one, other in zip(whole, splice_one_layer(model, passages, stand_ins, progress=silent), strict=True):
        for name in ("loss", "kl", "agreed", "clean_loss", "positions"):
            assert (getattr(one, name) - getattr(other, name)).abs().max() <= EXACT, name


def test_logits_are_those_of_the_run(model: Model) -> None:
    prompt = model.tokenizer.from_ids([3, 14, 15, 9])
    run = model.run(prompt, read=["resid_post.2"])
    assert (logits_of(model, run["resid_post.2"][0]) - run.logits[0]).abs().max() <= EXACT


def test_a_loss_that_is_no_number_is_refused(tiny) -> None:
    model = tiny("llama")
    broken = ConstantStandIn({Layer(1): torch.full((model.anatomy.d_model,), torch.nan, dtype=torch.float64)})
    with pytest.raises(WorkError, match="The loss is not a number"):
        splice_everywhere(model, some_passages(5, 5), [broken], progress=silent)
