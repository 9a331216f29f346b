"""The frozen map: the books balance on the clean run, and away from it the map is the pinned model."""

import torch

from micrographia.ids import Layer, TokenId
from micrographia.model.edits import Edit, at
from micrographia.model.forward import activate
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from micrographia.model.run import Run
from micrographia.model.site import Point, Site, points_of
from tests.model.families import ids_for

EXACT = 1e-9
SCALES = (
    Point.ATTN_NORM_SCALE,
    Point.ATTN_POST_NORM_SCALE,
    Point.MLP_NORM_SCALE,
    Point.MLP_POST_NORM_SCALE,
)


def prompt(model: Model):
    return model.tokenizer.from_ids(ids_for(1, 11)[0].tolist())


def pins(model: Model, clean: Run) -> list[Edit]:
    """Hold the real model's nonlinear parts at the clean run's values, by editing them."""
    held = [point for point in (Point.PATTERN, *SCALES) if point in points_of(model.anatomy)]
    edits = [at(Site(point, Layer(i))) for i in range(model.anatomy.n_layers) for point in held]
    pinned = [place.set(clean[place.site]) for place in [*edits, at("final_norm_scale")]]
    for layer in range(model.anatomy.n_layers):
        if model.anatomy.gated:
            pinned.append(at(f"gate.{layer}").set(clean[f"gate.{layer}"]))
        else:
            slope = activate(model.anatomy.activation, clean[f"up.{layer}"]) / clean[f"up.{layer}"]
            latest: dict[str, torch.Tensor] = {}

            def remember(act, site, /, latest=latest):
                latest["up"] = act
                return act

            def straight(act, site, /, latest=latest, slope=slope):
                return slope * latest["up"]

            pinned += [at(f"up.{layer}").apply(remember), at(f"post.{layer}").apply(straight)]
    return pinned


def test_every_residual_is_the_sum_of_all_that_was_written_before_it(model: Model) -> None:
    run = model.run(prompt(model), read=["resid_pre", "resid_post"])
    parts = freeze(model, prompt(model)).parts()
    for layer in range(model.anatomy.n_layers):
        assert (parts.before(layer) - run[f"resid_pre.{layer}"][0]).abs().max() <= EXACT
        assert (parts.before(layer + 1) - run[f"resid_post.{layer}"][0]).abs().max() <= EXACT
    if not model.anatomy.parallel:
        run = model.run(prompt(model), read=["resid_mid"])
        for layer in range(model.anatomy.n_layers):
            assert (parts.between(layer) - run[f"resid_mid.{layer}"][0]).abs().max() <= EXACT


def test_heads_and_their_bias_are_the_attention_output(model: Model) -> None:
    run = model.run(prompt(model), read=["attn_out", "mlp_out"])
    frozen = freeze(model, prompt(model))
    for layer in range(model.anatomy.n_layers):
        attended = frozen.heads(layer).sum(0) + frozen.attn_bias(layer)
        assert (attended - run[f"attn_out.{layer}"][0]).abs().max() <= EXACT
        assert (frozen.mlp(layer) - run[f"mlp_out.{layer}"][0]).abs().max() <= EXACT


def test_one_heads_output_is_what_ablating_it_takes_away(model: Model) -> None:
    """Before a post-norm a head can be removed alone; behind one, its share is defined by the held scale."""
    frozen = freeze(model, prompt(model))
    pinned = pins(model, model.run(prompt(model), read=model.sites))
    clean = model.run(prompt(model), read=["attn_out.1"])["attn_out.1"]
    for head in range(model.anatomy.n_heads):
        without = model.run(prompt(model), read=["attn_out.1"], edit=[*pinned, at("z.1", heads=[head]).zero()])
        assert (frozen.heads(1)[head] - (clean - without["attn_out.1"])[0]).abs().max() <= EXACT


def test_neurons_and_the_bias_are_the_mlp_output(model: Model) -> None:
    frozen = freeze(model, prompt(model))
    for layer in range(model.anatomy.n_layers):
        rest = frozen.mlp(layer)[4] - frozen.neurons(layer, 4).sum(0)
        if model.weights.blocks[layer].mlp.down.bias is None:
            assert rest.abs().max() <= EXACT
        else:
            assert (rest - model.weights.blocks[layer].mlp.down.bias).abs().max() <= EXACT


def test_the_logits_are_the_last_residual_through_the_map(model: Model) -> None:
    logits = model.run(prompt(model)).logits[0]
    frozen = freeze(model, prompt(model))
    assert (frozen.unembed(frozen.residuals[-1]) + frozen.unembed_bias() - logits).abs().max() <= EXACT
    reader = frozen.logit_reader(6, TokenId(9), TokenId(30))
    read = reader.direction @ frozen.residuals[-1][6] + reader.bias
    assert (read - (logits[6, 9] - logits[6, 30])).abs() <= EXACT
    promoted = frozen.promotes(frozen.residuals[-1], 6)[6] + frozen.unembed_bias()[6]
    assert (promoted - logits[6]).abs().max() <= EXACT


def test_away_from_the_clean_run_the_map_is_the_pinned_model(model: Model) -> None:
    """A large push at the embedding, carried by the map block by block and by the real model with pinned parts."""
    frozen = freeze(model, prompt(model))
    pinned = pins(model, model.run(prompt(model), read=model.sites))
    push = torch.randn_like(frozen.embed)
    run = model.run(prompt(model), read=["resid_post"], edit=[*pinned, at("embed").add(push)])
    x = frozen.embed + push
    for layer in range(model.anatomy.n_layers):
        middle = x + (frozen.attend(layer, x) + frozen.attend_bias(layer)).sum(0) + frozen.attn_bias(layer)
        read_by_mlp = x if model.anatomy.parallel else middle
        x = middle + frozen.transform(layer, read_by_mlp) + frozen.transform_bias(layer)
        assert (x - run[f"resid_post.{layer}"][0]).abs().max() <= EXACT
    if model.anatomy.logit_cap is None:
        assert (frozen.unembed(x) + frozen.unembed_bias() - run.logits[0]).abs().max() <= EXACT
