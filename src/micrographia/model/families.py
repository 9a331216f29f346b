"""The model families that can be read: one row each.

A row says where a family keeps its parts (`Names`) and which form they have (`Form`); sizes come from the
model's own configuration. To add a family, add a row to `FAMILIES` and its name to the list in
`tests/model/families.py`: the tests there compare it with Hugging Face's implementation in float64.
"""

from dataclasses import dataclass, replace
from typing import Literal

from micrographia.errors import UnsupportedError
from micrographia.model.anatomy import QkNorm

__all__ = ["FAMILIES", "Family", "Form", "Fused", "Interleaved", "Names", "Separate", "family_of"]


@dataclass(frozen=True, slots=True)
class Separate:
    """Three matrices: queries, keys, values."""

    q: str
    k: str
    v: str
    kind: Literal["separate"] = "separate"


@dataclass(frozen=True, slots=True)
class Fused:
    """One matrix: all queries, then all keys, then all values."""

    qkv: str
    kind: Literal["fused"] = "fused"


@dataclass(frozen=True, slots=True)
class Interleaved:
    """One matrix, head by head: the head's queries, keys, values, then the next head's."""

    qkv: str
    kind: Literal["interleaved"] = "interleaved"


@dataclass(frozen=True, slots=True)
class Names:
    """Where the parts lie in the checkpoint; names below `block` are relative to one block."""

    prefix: str
    embed: str
    block: str
    final_norm: str
    unembed: tuple[str, ...]
    """Its names over the years, without prefix."""
    qkv: Separate | Fused | Interleaved
    o: str
    up: str
    down: str
    gate: str | None = None
    """None with a gated MLP means that `up` holds gate and up in one matrix, gate first."""
    pos_embed: str | None = None
    attn_norm: str | None = None
    attn_post_norm: str | None = None
    mlp_norm: str | None = None
    mlp_post_norm: str | None = None
    q_norm: str | None = None
    k_norm: str | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """What the parts are like, as far as the family fixes it."""

    norm: Literal["rms", "layer"] = "rms"
    gain_offset: float = 0.0
    """Gemma stores the gain of a norm less one."""
    gated: bool = True
    parallel: bool | str = False
    """A text names the configuration key that decides."""
    qk_norm: QkNorm = "none"
    transposed: bool = False
    """Matrices lie as [in, out] (GPT-2)."""
    embed_scaled: bool = False
    """The token embedding is multiplied by √d_model."""
    scale_key: str | None = None
    """The configuration key whose −½th power scales the scores, instead of d_head's."""
    window: Literal["never", "always", "by layer type"] = "never"
    refuses: tuple[str, ...] = ()
    """Configuration switches that change the computation and that we do not read."""


@dataclass(frozen=True, slots=True)
class Family:
    """One row: a family, what belongs to it, what its parts are like and where they lie."""

    name: str
    model_types: tuple[str, ...]
    covers: str
    form: Form
    names: Names


_LLAMA_NAMES = Names(
    prefix="model.",
    embed="embed_tokens",
    block="layers.{layer}.",
    final_norm="norm",
    unembed=("lm_head",),
    qkv=Separate("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    o="self_attn.o_proj",
    gate="mlp.gate_proj",
    up="mlp.up_proj",
    down="mlp.down_proj",
    attn_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
)
_QK_NAMES = replace(_LLAMA_NAMES, q_norm="self_attn.q_norm", k_norm="self_attn.k_norm")
_GEMMA_FORM = Form(gain_offset=1.0, embed_scaled=True, scale_key="query_pre_attn_scalar", window="by layer type")
_GEMMA_NAMES = replace(
    _LLAMA_NAMES,
    attn_post_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
)

FAMILIES: tuple[Family, ...] = (
    Family(
        "gpt2",
        ("gpt2",),
        "GPT-2, DistilGPT-2",
        Form(
            norm="layer",
            gated=False,
            transposed=True,
            refuses=("scale_attn_by_inverse_layer_idx", "add_cross_attention"),
        ),
        Names(
            prefix="transformer.",
            embed="wte",
            pos_embed="wpe",
            block="h.{layer}.",
            final_norm="ln_f",
            unembed=("lm_head",),
            qkv=Fused("attn.c_attn"),
            o="attn.c_proj",
            up="mlp.c_fc",
            down="mlp.c_proj",
            attn_norm="ln_1",
            mlp_norm="ln_2",
        ),
    ),
    Family(
        "neox",
        ("gpt_neox",),
        "GPT-NeoX, Pythia",
        Form(norm="layer", gated=False, parallel="use_parallel_residual"),
        Names(
            prefix="gpt_neox.",
            embed="embed_in",
            block="layers.{layer}.",
            final_norm="final_layer_norm",
            unembed=("embed_out", "lm_head"),
            qkv=Interleaved("attention.query_key_value"),
            o="attention.dense",
            up="mlp.dense_h_to_4h",
            down="mlp.dense_4h_to_h",
            attn_norm="input_layernorm",
            mlp_norm="post_attention_layernorm",
        ),
    ),
    Family("llama", ("llama",), "Llama 2 and 3, SmolLM2, TinyLlama", Form(), _LLAMA_NAMES),
    Family("mistral", ("mistral",), "Mistral 7B", Form(window="always"), _LLAMA_NAMES),
    Family("qwen2", ("qwen2",), "Qwen 2 and 2.5", Form(window="by layer type"), _LLAMA_NAMES),
    Family("qwen3", ("qwen3",), "Qwen 3 (dense)", Form(window="by layer type", qk_norm="head"), _QK_NAMES),
    Family(
        "gemma2",
        ("gemma2",),
        "Gemma 2",
        replace(_GEMMA_FORM, refuses=("use_bidirectional_attention",)),
        _GEMMA_NAMES,
    ),
    Family(
        "gemma3",
        ("gemma3_text",),
        "Gemma 3 (text)",
        replace(_GEMMA_FORM, qk_norm="head", refuses=("use_bidirectional_attention",)),
        replace(_GEMMA_NAMES, q_norm="self_attn.q_norm", k_norm="self_attn.k_norm"),
    ),
    Family(
        "olmo2",
        ("olmo2",),
        "OLMo 2",
        Form(qk_norm="flat"),
        replace(
            _QK_NAMES,
            attn_norm=None,
            mlp_norm=None,
            attn_post_norm="post_attention_layernorm",
            mlp_post_norm="post_feedforward_layernorm",
        ),
    ),
    Family(
        "phi3",
        ("phi3",),
        "Phi-3, Phi-3.5 and Phi-4 mini",
        Form(window="always"),
        replace(_LLAMA_NAMES, qkv=Fused("self_attn.qkv_proj"), gate=None, up="mlp.gate_up_proj"),
    ),
)


def family_of(model_type: str) -> Family:
    """The row for a configuration's `model_type`."""
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = ", ".join(f"{family.model_types[0]} ({family.covers})" for family in FAMILIES)
    raise UnsupportedError(
        f"Models of type {model_type!r} cannot be read yet. Families that can: {known}. "
        "A new family is one row in micrographia/model/families.py and one line in tests/model/families.py."
    )
