"""A checkpoint's configuration, read through a family's row into an `Anatomy`.

This is the only place where names differ between configurations; everything is checked for its type here.
"""

import math
from collections.abc import Mapping
from typing import cast

from micrographia.errors import ModelFileError, UnsupportedError
from micrographia.model.anatomy import Activation, Anatomy, Rotary
from micrographia.model.families import Family, family_of

__all__ = ["ACTIVATIONS", "anatomy_of"]

ACTIVATIONS: Mapping[str, Activation] = {
    "silu": Activation.SILU,
    "swish": Activation.SILU,
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_fast": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "relu": Activation.RELU,
}


def anatomy_of(config: object) -> Anatomy:
    """The anatomy of the model that a Hugging Face configuration describes."""
    family = family_of(_text(config, "model_type"))
    form = family.form
    for switch in form.refuses:
        if getattr(config, switch, None):
            raise UnsupportedError(
                f"This {family.name} model sets {switch}, which changes its attention in a way that is not read here."
            )
    n_layers, d_model, n_heads = (
        _int(config, key) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads")
    )
    d_head = _int(config, "head_dim", default=d_model // n_heads)
    scale = _float(config, form.scale_key) if form.scale_key else float(d_head)
    unscaled = getattr(config, "scale_attn_weights", True) is False
    return Anatomy(
        family=family.name,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=_int(config, "num_key_value_heads", default=n_heads),
        d_head=d_head,
        d_mlp=_int(config, "intermediate_size", "n_inner", default=4 * d_model),
        d_vocab=_int(config, "vocab_size"),
        context=_context(config),
        eps=_float(config, "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"),
        norm=form.norm,
        activation=_activation(config),
        gated=form.gated,
        parallel=bool(getattr(config, form.parallel)) if isinstance(form.parallel, str) else form.parallel,
        pre_norm=family.names.attn_norm is not None,
        post_norm=family.names.attn_post_norm is not None,
        qk_norm=form.qk_norm,
        learned_positions=family.names.pos_embed is not None,
        attn_bias=getattr(config, "attention_bias", None),
        mlp_bias=getattr(config, "mlp_bias", None),
        tied=bool(getattr(config, "tie_word_embeddings", False)),
        attn_scale=1.0 if unscaled else scale**-0.5,
        attn_cap=_cap(config, "attn_logit_softcapping"),
        logit_cap=_cap(config, "final_logit_softcapping"),
        embed_scale=math.sqrt(d_model) if form.embed_scaled else 1.0,
        windows=_windows(config, family, n_layers),
        rotaries=_rotaries(config, family, n_layers, d_head),
    )


def _context(config: object) -> int:
    """The longest prompt. Beyond the length that `longrope` was trained at, its frequencies change with the prompt;
    that half of the recipe is not read, so the context ends there."""
    longest = _int(config, "max_position_embeddings")
    recipe = cast("dict[str, object]", getattr(config, "rope_parameters", None) or {})
    trained = recipe.get("original_max_position_embeddings")
    return min(longest, trained) if recipe.get("rope_type") == "longrope" and isinstance(trained, int) else longest


def _windows(config: object, family: Family, n_layers: int) -> tuple[int | None, ...]:
    window = getattr(config, "sliding_window", None)
    if family.form.window == "never" or not isinstance(window, int):
        return (None,) * n_layers
    if family.form.window == "always":
        return (window,) * n_layers
    return tuple(window if kind == "sliding_attention" else None for kind in _layer_types(config, n_layers))


def _layer_types(config: object, n_layers: int) -> tuple[str, ...]:
    kinds = getattr(config, "layer_types", None)
    if not isinstance(kinds, (list, tuple)) or len(cast("list[object]", kinds)) != n_layers:
        raise ModelFileError(f"The configuration's layer_types must name {n_layers} layers; it holds {kinds!r}.")
    return tuple(str(kind) for kind in cast("list[object]", kinds))


def _rotaries(config: object, family: Family, n_layers: int, d_head: int) -> tuple[Rotary | None, ...]:
    if family.names.pos_embed is not None:
        return (None,) * n_layers
    parameters = cast("dict[str, object]", getattr(config, "rope_parameters", None) or {})
    if "rope_theta" in parameters:
        return (_rotary(config, parameters, d_head, None),) * n_layers
    kinds = _layer_types(config, n_layers)
    by_kind = {
        kind: _rotary(config, cast("dict[str, object]", parameters[kind]), d_head, kind) for kind in sorted(set(kinds))
    }
    return tuple(by_kind[kind] for kind in kinds)


def _rotary(config: object, recipe: Mapping[str, object], d_head: int, layer_type: str | None) -> Rotary:
    """Frequencies of one recipe; what bends them for long contexts is computed in full precision where it is simple."""

    def number(key: str, default: float | None = None) -> float:
        value = recipe.get(key, default)
        if not isinstance(value, (int, float)):
            raise ModelFileError(f"The configuration's rope_parameters lack a number for {key}.")
        return float(value)

    match recipe.get("rope_type", "default"):
        case "default":
            return Rotary(_plain(number("rope_theta"), d_head, number("partial_rotary_factor", 1.0)))
        case "linear":
            plain = _plain(number("rope_theta"), d_head, number("partial_rotary_factor", 1.0))
            return Rotary(tuple(f / number("factor") for f in plain))
        case "llama3":
            low, high = number("low_freq_factor"), number("high_freq_factor")
            trained = number("original_max_position_embeddings")
            plain = _plain(number("rope_theta"), d_head, number("partial_rotary_factor", 1.0))
            return Rotary(tuple(_llama3(f, number("factor"), low, high, trained) for f in plain))
        case "yarn" | "longrope":
            return _bent(config, str(recipe["rope_type"]), layer_type)
        case other:
            raise UnsupportedError(
                f"Rotary positions of type {other!r} are not read; "
                "those that are: default, linear, llama3, yarn, longrope."
            )


def _plain(base: float, d_head: int, share: float) -> tuple[float, ...]:
    dims = int(d_head * share)
    return tuple(base ** (-i / dims) for i in range(0, dims, 2))


def _llama3(frequency: float, factor: float, low: float, high: float, trained: float) -> float:
    """Slow turns are slowed further by `factor`, quick ones kept, those between blended."""
    turns = trained * frequency / (2 * math.pi)
    kept = min(max((turns - low) / (high - low), 0.0), 1.0)
    return kept * frequency + (1 - kept) * frequency / factor


def _bent(config: object, kind: str, layer_type: str | None) -> Rotary:
    """Recipes with many switches come from Hugging Face's own functions, in float32."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    chosen = {} if layer_type is None else {"layer_type": layer_type}
    frequencies, scaling = ROPE_INIT_FUNCTIONS[kind](config, "cpu", **chosen)
    return Rotary(tuple(cast("list[float]", frequencies.tolist())), float(scaling))


def _activation(config: object) -> Activation:
    name = next(
        (n for key in ("hidden_activation", "hidden_act", "activation_function") if (n := getattr(config, key, None))),
        None,
    )
    if name not in ACTIVATIONS:
        raise UnsupportedError(f"The activation {name!r} is not read; those that are: {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[cast("str", name)]


def _cap(config: object, key: str) -> float | None:
    value = getattr(config, key, None)
    return None if value is None else float(value)


def _text(config: object, key: str) -> str:
    value = getattr(config, key, None)
    if not isinstance(value, str):
        raise ModelFileError(f"The configuration must name a {key}; it holds {value!r}.")
    return value


def _int(config: object, *keys: str, default: int | None = None) -> int:
    for key in keys:
        value = getattr(config, key, None)
        if isinstance(value, int) and value > 0:
            return value
    if default is None:
        raise ModelFileError(f"The configuration lacks a positive whole number for {' or '.join(keys)}.")
    return default


def _float(config: object, *keys: str) -> float:
    for key in keys:
        value = getattr(config, key, None)
        if isinstance(value, (int, float)):
            return float(value)
    raise ModelFileError(f"The configuration lacks a number for {' or '.join(keys)}.")
