"""The forward pass against Hugging Face's, family by family, in float64."""

import pytest
import torch

from micrographia.model.batch import Batch
from micrographia.model.edits import at
from micrographia.model.forward import KeyValues, forward, onward
from micrographia.model.hooks import Gate, Hooks
from micrographia.model.model import Model
from micrographia.model.site import AXES, Point, Site
from tests.model.families import exactly, hugging_face, ids_for


def prompt(model: Model, width: int = 13, seed: int = 1):
    return model.tokenizer.from_ids(ids_for(1, width, seed=seed)[0].tolist())


def test_logits_equal_hugging_faces(case: str, model: Model) -> None:
    ids = ids_for(3, 17)
    with exactly():
        theirs = hugging_face(case)(ids).logits
    ours = model.run([model.tokenizer.from_ids(row) for row in ids.tolist()]).logits
    assert (ours - theirs).abs().max() <= 1e-10


def test_every_site_is_reached_once_with_the_axes_it_claims(model: Model) -> None:
    run = model.run([prompt(model), prompt(model, seed=2)], read=model.sites)
    a = model.anatomy
    sizes = dict(
        batch=2,
        pos=13,
        query=13,
        key=13,
        d_model=a.d_model,
        d_head=a.d_head,
        head=a.n_heads,
        kv_head=a.n_kv_heads,
        neuron=a.d_mlp,
        d_vocab=a.d_vocab,
        one=1,
    )
    assert list(run.acts) == list(model.sites)
    for site, act in run.acts.items():
        expected = tuple(sizes[axis] for axis in AXES[site.point])
        if a.qk_norm == "flat" and site.point in (Point.Q_NORM_SCALE, Point.K_NORM_SCALE):
            expected = (2, 13, 1, 1)
        assert act.shape == expected, site


def test_reading_everything_changes_no_bit(model: Model) -> None:
    plain = model.run(prompt(model)).logits
    assert torch.equal(model.run(prompt(model), read=model.sites).logits, plain)


def test_an_identity_edit_at_every_site_changes_nothing(model: Model) -> None:
    plain = model.run(prompt(model)).logits
    for site in model.sites:
        edited = model.run(prompt(model), edit=[at(site).apply(lambda act, site: act)]).logits
        if site.point in (Point.SCORES, Point.PATTERN):
            assert (edited - plain).abs().max() <= 1e-12, site
        else:
            assert torch.equal(edited, plain), site


def test_every_edit_reaches_the_logits(model: Model) -> None:
    """A site whose edit does nothing would be a picture of a place, not the place."""
    plain = model.run(prompt(model)).logits
    for site in model.sites:
        edited = model.run(prompt(model), edit=[at(site).apply(lambda act, site: act + torch.rand_like(act))]).logits
        assert (edited - plain).abs().max() > 1e-9, site


def test_zeroing_a_head_equals_zeroing_its_output_weights(model: Model) -> None:
    a = model.anatomy
    for layer in range(a.n_layers):
        for head in range(a.n_heads):
            edited = model.run(prompt(model), edit=[at(f"z.{layer}", heads=[head]).zero()]).logits
            out = model.weights.blocks[layer].attn.o.weight
            columns = slice(head * a.d_head, (head + 1) * a.d_head)
            kept = out[:, columns].clone()
            out[:, columns] = 0
            zeroed = model.run(prompt(model)).logits
            out[:, columns] = kept
            assert (edited - zeroed).abs().max() <= 1e-12


def test_zeroing_a_neuron_equals_zeroing_its_output_weights(model: Model) -> None:
    for layer in range(model.anatomy.n_layers):
        for neuron in range(0, model.anatomy.d_mlp, 7):
            edited = model.run(prompt(model), edit=[at(f"post.{layer}", neurons=[neuron]).zero()]).logits
            out = model.weights.blocks[layer].mlp.down.weight
            kept = out[:, neuron].clone()
            out[:, neuron] = 0
            zeroed = model.run(prompt(model)).logits
            out[:, neuron] = kept
            assert (edited - zeroed).abs().max() <= 1e-12


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_matter(model: Model, side: str) -> None:
    prompts = [prompt(model, width, seed=width) for width in (3, 11, 7)]
    together = model.run(prompts, side=side, read=["resid_post", "embed"])
    for row, one in enumerate(prompts):
        alone = model.run(one, read=["resid_post", "embed"])
        real = slice(None, len(one.ids)) if side == "right" else slice(-len(one.ids), None)
        assert (together.logits[row, real] - alone.logits[0]).abs().max() <= 1e-12
        for site in alone.acts:
            assert (together[site][row, real] - alone[site][0]).abs().max() <= 1e-12, site
        assert (together.last_logits()[row] - alone.last_logits()[0]).abs().max() <= 1e-12


def test_key_values_from_before_stand_in_for_the_tokens_before(model: Model) -> None:
    whole = prompt(model)
    expected = model.run(whole).logits
    past, parts = KeyValues(), []
    batch = model.batch([whole])
    for start, stop in ((0, 5), (5, 6), (6, 13)):
        piece = Batch(batch.ids[:, start:stop], None, batch.positions[:, start:stop], batch.lengths)
        with torch.no_grad():
            parts.append(forward(model.weights, model.anatomy, piece, Gate(Hooks()), past=past))
    assert (torch.cat(parts, dim=1) - expected).abs().max() <= 1e-12


def test_only_the_wanted_logits_are_computed(model: Model) -> None:
    everything = model.run(prompt(model)).logits
    last = model.run(prompt(model), logits="last").logits
    assert last.shape[1] == 1
    assert (last[:, 0] - everything[:, -1]).abs().max() <= 1e-12
    behind = model.run(prompt(model), logits="last", read=["final_norm_out"])
    assert behind["final_norm_out"].shape[1] == 13
    assert behind.logits.shape[1] == 1


def test_nothing_above_the_last_wanted_layer_is_computed(tiny) -> None:
    model = tiny("llama")
    seen: list[Site] = []
    with model.attached(readers={"resid_pre.0": lambda act, site: seen.append(site)}):
        model.run(prompt(model), logits="none")
    assert [str(site) for site in seen] == ["resid_pre.0"]
    blocks = model.weights.blocks
    top = blocks[-1].mlp.down.weight
    kept = top.clone()
    top.fill_(float("nan"))
    run = model.run(prompt(model), read=["resid_post.0", "pattern.1"], logits="none")
    top.copy_(kept)
    assert all(act.isfinite().all() for act in run.acts.values())


def test_a_pass_can_go_on_from_any_layer(model: Model) -> None:
    prompts = [prompt(model, width, seed=width) for width in (7, 4)]
    run = model.run(prompts, read=["resid_pre", "resid_post"])
    last = run.stack("resid_post")[-1]
    for layer, residual in enumerate(run.stack("resid_pre")):
        with torch.no_grad():
            found = onward(model.weights, model.anatomy, run.batch, Gate(Hooks()), residual, layer=layer)
        assert torch.equal(found, last)


@pytest.mark.parametrize("case", ["llama", "gemma2", "gpt2", "neox", "olmo2"])
def test_gradients_flow_when_they_are_asked_for(tiny, case: str) -> None:
    model = tiny(case)
    held: list[torch.Tensor] = []

    def lift(act: torch.Tensor, site: Site, /) -> torch.Tensor:
        held.append(act.detach().clone().requires_grad_())
        return held[0]

    run = model.run(prompt(model), edit=[at("resid_pre.1").apply(lift)], grad=True)
    run.logits[0, -1, 5].backward()
    step = torch.randn_like(held[0]) * 1e-6
    nudged = [model.run(prompt(model), edit=[at("resid_pre.1").add(sign * step)]).logits[0, -1, 5] for sign in (1, -1)]
    assert torch.isclose((nudged[0] - nudged[1]) / 2, (held[0].grad * step).sum(), rtol=1e-4, atol=1e-12)


def test_the_forward_pass_makes_every_tensor_on_the_models_own_device(model: Model) -> None:
    """On the device "meta" an operation that mixes in a CPU tensor raises."""
    from dataclasses import fields, is_dataclass, replace

    def moved(part):
        if isinstance(part, torch.Tensor):
            return part.to("meta")
        if isinstance(part, tuple):
            return tuple(map(moved, part))
        if is_dataclass(part):
            return replace(part, **{f.name: moved(getattr(part, f.name)) for f in fields(part)})
        return part

    far = Model(model.name, model.anatomy, moved(model.weights), model.tokenizer)
    run = far.run([prompt(model), prompt(model)], read=far.sites)
    assert {act.device.type for act in run.acts.values()} == {"meta"}
    assert run.logits.device.type == "meta"
