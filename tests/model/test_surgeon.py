"""Edits: each does what it says, where it says, and nothing elsewhere."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from micrographia.errors import EditError, SiteError
from micrographia.model.edits import at
from micrographia.model.model import Model
from tests.model.families import ids_for


def prompt(model: Model, width: int = 9, seed: int = 1):
    return model.tokenizer.from_ids(ids_for(1, width, seed=seed)[0].tolist())


def after(model: Model, edit, site: str, **kwargs) -> torch.Tensor:
    return model.run(kwargs.pop("of", prompt(model)), read=[site], edit=[edit], **kwargs)[site]


def test_zero_set_scale_and_add_do_what_they_say(tiny) -> None:
    model = tiny("llama")
    clean = model.run(prompt(model), read=["mlp_out.1"])["mlp_out.1"]
    direction = torch.randn(model.anatomy.d_model, dtype=torch.float64)
    assert after(model, at("mlp_out.1").zero(), "mlp_out.1").abs().max() == 0
    assert torch.equal(after(model, at("mlp_out.1").scale(-2.0), "mlp_out.1"), clean * -2)
    assert torch.equal(after(model, at("mlp_out.1").add(direction), "mlp_out.1"), clean + direction)
    assert torch.equal(after(model, at("mlp_out.1").set(direction), "mlp_out.1"), direction.expand_as(clean))


def test_edits_stay_at_their_positions_heads_and_neurons(tiny) -> None:
    model = tiny("qwen3")
    clean = model.run(prompt(model), read=["z.1", "k.0", "post.2", "pattern.1"])
    z = after(model, at("z.1", positions=[2, -1], heads=[0, 3]).zero(), "z.1")
    expected = clean["z.1"].clone()
    expected[:, [2, 2, 8, 8], [0, 3, 0, 3]] = 0
    assert torch.equal(z, expected)
    k = after(model, at("k.0", heads=[1]).scale(3.0), "k.0")
    assert torch.equal(k[:, :, 1], clean["k.0"][:, :, 1] * 3)
    assert torch.equal(k[:, :, 0], clean["k.0"][:, :, 0])
    post = after(model, at("post.2", positions=slice(3, None, 2), neurons=[5]).set(1.5), "post.2")
    expected = clean["post.2"].clone()
    expected[:, 3::2, 5] = 1.5
    assert torch.equal(post, expected)
    pattern = after(model, at("pattern.1", positions=[4], heads=[2]).set(0.25), "pattern.1")
    expected = clean["pattern.1"].clone()
    expected[:, 2, 4] = 0.25
    assert torch.equal(pattern, expected)


@given(start=st.integers(-9, 9), stop=st.one_of(st.none(), st.integers(-9, 9)), step=st.integers(1, 3))
def test_slices_of_positions_mean_what_they_mean_in_python(tiny, start: int, stop: int | None, step: int) -> None:
    model = tiny("gpt2")
    chosen = slice(start, stop, step)
    act = after(model, at("mlp_out.0", positions=chosen).set(7.0), "mlp_out.0")
    assert (act[0] == 7.0).all(-1).nonzero()[:, 0].tolist() == list(range(9)[chosen])


@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_mean_the_same_tokens_whatever_the_padding(tiny, side: str) -> None:
    model = tiny("mistral")
    prompts = [prompt(model, width, seed=width) for width in (4, 9, 6)]
    edit = at("resid_post.0", positions=[1, -2]).zero()
    together = model.run(prompts, edit=[edit], side=side)
    for row, one in enumerate(prompts):
        alone = model.run(one, edit=[edit])
        assert (together.last_logits()[row] - alone.last_logits()[0]).abs().max() <= 1e-12


def test_mean_takes_the_mean_over_real_tokens_only(tiny) -> None:
    model = tiny("llama")
    reference = model.run([prompt(model, 3, 5), prompt(model, 8, 6)], read=["mlp_out.1"])
    tokens = torch.cat([reference["mlp_out.1"][0, :3], reference["mlp_out.1"][1]])
    act = after(model, at("mlp_out.1", positions=[0]).mean(reference), "mlp_out.1")
    assert torch.allclose(act[0, 0], tokens.mean(0))


def test_resampling_everything_from_another_run_gives_that_run(model: Model) -> None:
    other = model.run(prompt(model, seed=2), read=["embed", "resid_post"])
    for layer in range(model.anatomy.n_layers):
        patched = model.run(prompt(model), edit=[at(f"resid_post.{layer}").resample(other)])
        assert (patched.logits - other.logits).abs().max() <= 1e-12


def test_resampling_pairs_positions_between_prompts_of_different_length(tiny) -> None:
    model = tiny("llama")
    other = model.run(prompt(model, 5, seed=2), read=["resid_post.1"])
    act = after(model, at("resid_post.1", positions=[-1, 2]).resample(other, source=[-1, 0]), "resid_post.1")
    clean = model.run(prompt(model), read=["resid_post.1"])["resid_post.1"]
    assert torch.equal(act[0, 8], other["resid_post.1"][0, 4])
    assert torch.equal(act[0, 2], other["resid_post.1"][0, 0])
    assert torch.equal(act[0, [0, 1, 3, 4, 5, 6, 7]], clean[0, [0, 1, 3, 4, 5, 6, 7]])


@pytest.mark.parametrize("side", ["left", "right"])
def test_resampling_in_a_batch_takes_row_from_row(tiny, side: str) -> None:
    model = tiny("llama")
    ours = [prompt(model, 4, 1), prompt(model, 7, 2)]
    others = [prompt(model, 6, 3), prompt(model, 7, 4)]
    reference = model.run(others, read=["resid_post.0"], side=side)
    act = after(model, at("resid_post.0", positions=[-1]).resample(reference, source=[-1]), "resid_post.0", of=ours)
    for row in range(2):
        alone = model.run(others[row], read=["resid_post.0"])["resid_post.0"]
        assert (act[row, len(ours[row].ids) - 1] - alone[0, -1]).abs().max() <= 1e-12


def test_a_pattern_can_be_taken_from_a_prompt_of_the_same_length(tiny) -> None:
    model = tiny("llama")
    other = model.run(prompt(model, seed=2), read=["pattern.1"])
    act = after(model, at("pattern.1", heads=[1]).resample(other), "pattern.1")
    assert torch.equal(act[:, 1], other["pattern.1"][:, 1])
    with pytest.raises(EditError, match="same length"):
        after(model, at("pattern.1").resample(model.run(prompt(model, 5), read=["pattern.1"])), "pattern.1")


def test_edits_run_in_order_and_readers_see_their_result(tiny) -> None:
    model = tiny("gpt2")
    edits = [at("mlp_out.0").set(2.0), at("mlp_out.0").scale(5.0), at("mlp_out.0").add(1.0)]
    assert (model.run(prompt(model), read=["mlp_out.0"], edit=edits)["mlp_out.0"] == 11.0).all()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (at("z.1", heads=[4]).zero(), r"no head 4 at z.1: there are 4, 0 to 3"),
        (at("v.1", heads=[2]).zero(), r"no key-value head 2 at v.1: there are 2, 0 to 1"),
        (at("post.1", neurons=[-1]).zero(), r"no neuron -1 at post.1: there are 40, 0 to 39"),
        (
            at("resid_post.1", heads=[0]).zero(),
            r"resid_post.1 has no heads to choose from.*batch pos d_model",
        ),
        (
            at("resid_post.1", positions=[9]).zero(),
            r"no position 9 to edit at resid_post.1: the prompt has 9 tokens",
        ),
        (at("resid_post.1", positions=[-10]).zero(), r"no position -10"),
        (at("resid_post.1").set(torch.zeros(7)), r"shape \(7,\) does not fit resid_post.1.*\(1, 9, 24\)"),
        (
            at("resid_post.1").apply(lambda act, site: act[:, :2]),
            r"returned shape \(1, 2, 24\).*\(1, 9, 24\)",
        ),
        (at("resid_post.1").apply(lambda act, site: act.float()), r"returned torch.float32.*torch.float64"),
        (at("resid_post.1").apply(lambda act, site: None), r"returned NoneType"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_in_one_sentence(tiny, edit, message: str) -> None:
    model = tiny("llama")
    with pytest.raises(EditError, match=message):
        model.run(prompt(model), edit=[edit])


def test_references_that_cannot_serve_are_refused(tiny) -> None:
    model = tiny("llama")
    short = model.run(prompt(model, 4), read=["resid_post.1", "pattern.1"])
    with pytest.raises(EditError, match="4 tokens has no position 8 to take from"):
        model.run(prompt(model), edit=[at("resid_post.1").resample(short)])
    with pytest.raises(EditError, match="list the positions to edit"):
        model.run(prompt(model), edit=[at("resid_post.1").resample(short, source=[1])])
    with pytest.raises(EditError, match="2 positions cannot take from 1"):
        model.run(prompt(model), edit=[at("resid_post.1", positions=[0, 1]).resample(short, source=[1])])
    with pytest.raises(EditError, match="no mean over positions"):
        model.run(prompt(model), edit=[at("pattern.1").mean(short)])
    with pytest.raises(SiteError, match=r"mlp_out.0 was not read.*kept pattern.1, resid_post.1.*read=\['mlp_out.0'\]"):
        model.run(prompt(model), edit=[at("mlp_out.0").resample(short)])
    two = model.run([prompt(model), prompt(model)], read=["resid_post.1"])
    with pytest.raises(EditError, match="a reference of 2 prompts cannot serve 3; give 1 or 3"):
        model.run([prompt(model)] * 3, edit=[at("resid_post.1").resample(two)])


def test_attached_edits_end_with_their_block_even_after_an_error(tiny) -> None:
    model = tiny("llama")
    plain = model.run(prompt(model)).logits
    with model.attached(edit=[at("z").zero()]):
        with model.attached(edit=[at("mlp_out").zero()]):
            nothing = model.run(prompt(model), read=["resid_pre.0", "resid_post.2"])
            assert torch.equal(nothing["resid_pre.0"], nothing["resid_post.2"])
        assert not torch.equal(model.run(prompt(model)).logits, plain)
    with pytest.raises(ZeroDivisionError), model.attached(edit=[at("z").apply(lambda act, site: 1 / 0)]):
        model.run(prompt(model))
    assert torch.equal(model.run(prompt(model)).logits, plain)
