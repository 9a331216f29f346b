"""Configurations: each number where it belongs, and what is not understood is refused by name."""

import math
from typing import Any

import pytest
import torch
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from micrographia.errors import ModelFileError, UnsupportedError
from micrographia.model.anatomy import Activation, Anatomy
from micrographia.model.settings import ACTIVATIONS, anatomy_of
from tests.model.families import TINY


def config(case: str, **changes: Any) -> Any:
    model_type, values = TINY[case]
    return AutoConfig.for_model(model_type, **{**values, **changes})


def after(case: str, **changes: Any) -> Any:
    """A configuration with values that transformers itself would not let in."""
    made = config(case)
    for name, value in changes.items():
        object.__setattr__(made, name, value)
    return made


def test_the_sizes_are_those_of_the_configuration(case: str) -> None:
    made = config(case)
    a = anatomy_of(made)
    assert (a.n_layers, a.d_model, a.n_heads, a.d_vocab, a.context) == (3, 24, 4, 80, 64)
    assert a.n_kv_heads == getattr(made, "num_key_value_heads", 4)
    assert a.group == a.n_heads // a.n_kv_heads
    assert a.d_mlp == (96 if a.family == "gpt2" else 40)
    assert a.tied == made.tie_word_embeddings
    assert len(a.windows) == len(a.rotaries) == 3


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("gpt2", dict(norm="layer", gated=False, learned_positions=True, rotaries=(None,) * 3, tied=True)),
        ("neox", dict(norm="layer", gated=False, parallel=True)),
        ("neox-serial", dict(parallel=False)),
        ("llama-tied-biased", dict(d_head=10, attn_scale=10**-0.5, tied=True)),
        ("mistral", dict(windows=(5, 5, 5))),
        ("qwen2", dict(windows=(5, None, 5))),
        ("qwen3", dict(qk_norm="head", windows=(None,) * 3)),
        ("gemma2", dict(attn_cap=3.0, logit_cap=2.0, attn_scale=10**-0.5, embed_scale=math.sqrt(24), post_norm=True)),
        ("gemma3", dict(qk_norm="head", attn_cap=None, logit_cap=None, windows=(5, None, 5))),
        ("olmo2", dict(qk_norm="flat", pre_norm=False, post_norm=True)),
        ("phi3-partial", dict(windows=(5, 5, 5), d_head=6)),
    ],
)
def test_each_family_has_its_forms(case: str, expected: dict[str, object]) -> None:
    a = anatomy_of(config(case))
    assert {name: getattr(a, name) for name in expected} == expected


def test_switches_that_turn_a_form_off_are_heard() -> None:
    assert anatomy_of(config("qwen2", use_sliding_window=False)).windows == (None,) * 3
    assert anatomy_of(config("mistral", sliding_window=None)).windows == (None,) * 3
    assert anatomy_of(config("gpt2", scale_attn_weights=False)).attn_scale == 1.0


@pytest.mark.parametrize(
    ("case", "switch"),
    [
        ("gpt2", "scale_attn_by_inverse_layer_idx"),
        ("gpt2", "add_cross_attention"),
        ("gemma2", "use_bidirectional_attention"),
        ("gemma3", "use_bidirectional_attention"),
    ],
)
def test_a_switch_that_changes_the_computation_is_refused_by_name(case: str, switch: str) -> None:
    with pytest.raises(UnsupportedError, match=f"sets {switch}, which changes its attention"):
        anatomy_of(after(case, **{switch: True}))
    assert isinstance(anatomy_of(after(case, **{switch: False})), Anatomy)


# ---------------------------------------------------------------- activations


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_the_one_that_transformers_means(name: str) -> None:
    from transformers.activations import ACT2FN

    from micrographia.model.forward import activate

    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    ours = activate(anatomy_of(config("llama", hidden_act=name)).activation, x)
    assert (ours - ACT2FN[name](x)).abs().max() < 1e-6


def test_an_unknown_activation_is_answered_with_those_there_are() -> None:
    for name in ("relu2", "quick_gelu", None):
        with pytest.raises(UnsupportedError, match=f"The activation {name!r} is not read; those that are: silu, "):
            anatomy_of(after("llama", hidden_act=name))


def test_gemma_means_its_newer_key() -> None:
    assert anatomy_of(config("gemma2")).activation == Activation.GELU_TANH


# ---------------------------------------------------------------- rotary positions

RECIPES: dict[str, dict[str, Any]] = {
    "linear": dict(factor=2.5),
    "llama3": dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32),
    "yarn": dict(factor=4.0, original_max_position_embeddings=32, beta_fast=4.0, beta_slow=1.0),
    "longrope": dict(
        short_factor=[1.0, 1.1, 1.5, 2.0], long_factor=[2.0, 3.0, 4.0, 5.0], original_max_position_embeddings=32
    ),
}


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("base", [500.0, 1e4])
def test_frequencies_equal_transformers(kind: str, base: float) -> None:
    recipe = dict(rope_type=kind, rope_theta=base, **RECIPES[kind])
    made = config("llama", rope_parameters=recipe, head_dim=8)
    (rotary,) = set(anatomy_of(made).rotaries)
    assert rotary is not None
    theirs, scaling = ROPE_INIT_FUNCTIONS[kind](made, "cpu")
    assert torch.allclose(torch.tensor(rotary.frequencies), theirs, rtol=1e-6, atol=0)
    assert rotary.scaling == pytest.approx(scaling, rel=1e-6)
    assert rotary.dims == 8
    plain = anatomy_of(config("llama", rope_parameters=dict(rope_type="default", rope_theta=base), head_dim=8))
    assert rotary.frequencies != plain.rotaries[0].frequencies, "the recipe would be missed unseen"


def test_plain_frequencies_fall_from_one_by_equal_ratios() -> None:
    a = anatomy_of(config("llama", rope_parameters=dict(rope_type="default", rope_theta=16.0), head_dim=8))
    assert a.rotaries[0].frequencies == pytest.approx((1.0, 0.5, 0.25, 0.125))
    partial = anatomy_of(config("neox", rope_parameters=dict(rope_theta=16.0, partial_rotary_factor=0.7)))
    assert partial.rotaries[0].dims == 4, "of a head of 6, four turn"


def test_layers_of_another_kind_may_turn_otherwise() -> None:
    recipes = {
        "sliding_attention": dict(rope_type="default", rope_theta=16.0),
        "full_attention": dict(rope_type="linear", rope_theta=256.0, factor=2.0),
    }
    a = anatomy_of(config("gemma3", rope_parameters=recipes))
    assert a.rotaries[0] == a.rotaries[2] != a.rotaries[1]
    assert a.rotaries[0].frequencies == pytest.approx((1.0, 0.5, 0.25, 0.125))
    assert a.rotaries[1].frequencies == pytest.approx((0.5, 0.125, 0.5 / 16, 0.5 / 64))


def test_with_longrope_the_context_ends_where_its_frequencies_change() -> None:
    recipe = dict(rope_type="longrope", rope_theta=1e4, **RECIPES["longrope"])
    assert anatomy_of(config("llama", rope_parameters=recipe, head_dim=8)).context == 32


def test_an_unknown_recipe_is_refused_by_name() -> None:
    for kind in ("dynamic", "su", 7):
        wrong = after("llama", rope_parameters=dict(rope_type=kind, rope_theta=1e4, factor=2.0))
        with pytest.raises(UnsupportedError, match=f"type {kind!r} are not read; those that are: default, linear"):
            anatomy_of(wrong)
    for recipe in (dict(rope_type="linear", rope_theta=1e4), dict(rope_type="llama3", rope_theta=1e4, factor="x")):
        with pytest.raises(ModelFileError, match=r"rope_parameters lack a number for (factor|low_freq_factor)"):
            anatomy_of(after("llama", rope_parameters=recipe))


# ---------------------------------------------------------------- what is missing


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(num_hidden_layers=0), "lacks a positive whole number for num_hidden_layers"),
        (dict(num_hidden_layers="3"), "lacks a positive whole number for num_hidden_layers"),
        (dict(vocab_size=None), "lacks a positive whole number for vocab_size"),
        (dict(rms_norm_eps=None), "lacks a number for rms_norm_eps or layer_norm_eps or layer_norm_epsilon"),
        (dict(model_type=None), "must name a model_type; it holds None"),
    ],
)
def test_a_value_that_is_missing_is_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ModelFileError, match=said):
        anatomy_of(after("llama", **changes))


@pytest.mark.parametrize("kinds", [None, "full", ["full_attention"] * 2])
def test_layer_types_must_name_every_layer(kinds: object) -> None:
    with pytest.raises(ModelFileError, match="layer_types must name 3 layers; it holds"):
        anatomy_of(after("qwen2", layer_types=kinds))
