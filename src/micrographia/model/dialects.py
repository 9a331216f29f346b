"""How llama.cpp writes each architecture into a GGUF, and how to say the same in Hugging Face's words.

One row per architecture: names of tensors, keys of the header, and what llama.cpp did to the values (it
reorders the rows of Q and K for its own rotary embedding, and adds 1 to Gemma's norms). A key or a tensor
that no row explains is refused: it could change the computation.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from micrographia.errors import ModelFileError, UnsupportedError
from micrographia.model.gguf import GgufFile

__all__ = ["DIALECTS", "Dialect", "Part", "config_of", "dialect_of", "part_of"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One architecture of llama.cpp."""

    arch: str
    model_type: str
    class_name: str
    block: Mapping[str, str]
    """Parts of a block: llama.cpp's name → Hugging Face's."""
    interleaved: tuple[str, ...] = ()
    """Parts whose rows llama.cpp has reordered, so that the two halves of a rotary pair are neighbours."""
    norm_offset: float = 0.0
    """What llama.cpp has added to the weights of norms."""
    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    """Keys of the header beyond those that all have → keys of the configuration."""
    settings: "Callable[[GgufFile], dict[str, object]]" = field(default=lambda file: {})
    """What the configuration says and the header says otherwise."""


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor of the file and what it is in Hugging Face's layout."""

    source: str
    target: str
    heads: int | None = None
    """How many heads to put back into order."""
    offset: float = 0.0

    def restore(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undo what llama.cpp did to the values."""
        if self.offset:
            values = values - np.float32(self.offset)
        if self.heads is not None:
            pairs = values.reshape(self.heads, -1, 2, *values.shape[1:])
            values = pairs.swapaxes(1, 2).reshape(values.shape)
        return np.ascontiguousarray(values)


# ---------------------------------------------------------------- the rows

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_ATTENTION = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_MLP = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_QK_NORM = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_LLAMA = {**_ATTENTION, **_MLP, "ffn_norm": "post_attention_layernorm"}
_GEMMA = {
    **_ATTENTION,
    **_MLP,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_PHI3 = {
    "attn_norm": "input_layernorm",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.gate_up_proj",
    "ffn_down": "mlp.down_proj",
}

_KEYS = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
_READ_ELSEWHERE = {
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "vocab_size",
}
_MAY_BE_ZERO = {"expert_count", "expert_used_count"}


def _llama(file: GgufFile) -> dict[str, object]:
    return {
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in file.tensors,
        "hidden_act": "silu",
        "rope_parameters": _rope(file, 10_000.0),
    }


def _qwen(file: GgufFile) -> dict[str, object]:
    return {"hidden_act": "silu", "use_sliding_window": False, "rope_parameters": _rope(file, 10_000.0)}


def _phi3(file: GgufFile) -> dict[str, object]:
    rope = _rope(file, 10_000.0)
    original = file.whole("phi3.rope.scaling.original_context_length")
    kept = file.whole("phi3.rope.dimension_count")
    if kept is not None:
        rope["partial_rotary_factor"] = kept / _d_head(file)
    return {
        "hidden_act": "silu",
        "rope_parameters": rope,
        "original_max_position_embeddings": original or file.whole("phi3.context_length"),
        "pad_token_id": file.whole("tokenizer.ggml.padding_token_id"),
    }


def _gemma2(file: GgufFile) -> dict[str, object]:
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "layer_types": _layer_types(file, every=2),
        "rope_parameters": _rope(file, 10_000.0),
        "query_pre_attn_scalar": _gemma_scalar(file, largest=46),
    }


def _gemma3(file: GgufFile) -> dict[str, object]:
    local = file.number("gemma3.rope.freq_base_swa", 10_000.0)
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "layer_types": _layer_types(file, every=6),
        "rope_parameters": {
            "full_attention": _rope(file, 1_000_000.0),
            "sliding_attention": {"rope_type": "default", "rope_theta": _plain(local)},
        },
        "query_pre_attn_scalar": _gemma_scalar(file, largest=62),
    }


_GEMMA_KEYS = {
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}

DIALECTS: tuple[Dialect, ...] = (
    Dialect("llama", "llama", "LlamaForCausalLM", _LLAMA, interleaved=("attn_q", "attn_k"), settings=_llama),
    Dialect("qwen2", "qwen2", "Qwen2ForCausalLM", _LLAMA, settings=_qwen),
    Dialect("qwen3", "qwen3", "Qwen3ForCausalLM", {**_LLAMA, **_QK_NORM}, settings=_qwen),
    Dialect("gemma2", "gemma2", "Gemma2ForCausalLM", _GEMMA, norm_offset=1.0, keys=_GEMMA_KEYS, settings=_gemma2),
    Dialect(
        "gemma3",
        "gemma3_text",
        "Gemma3ForCausalLM",
        {**_GEMMA, **_QK_NORM},
        norm_offset=1.0,
        keys=_GEMMA_KEYS,
        settings=_gemma3,
    ),
    Dialect(
        "phi3",
        "phi3",
        "Phi3ForCausalLM",
        _PHI3,
        keys={"attention.sliding_window": "sliding_window"},
        settings=_phi3,
    ),
)

# ---------------------------------------------------------------- reading by them


def dialect_of(file: GgufFile) -> Dialect:
    """The row for a file's architecture."""
    for dialect in DIALECTS:
        if dialect.arch == file.arch:
            return dialect
    known = ", ".join(dialect.arch for dialect in DIALECTS)
    raise UnsupportedError(
        f"{file.path} holds a model of the architecture {file.arch!r}; these are read from GGUF: {known}. "
        "Give a folder in Hugging Face's layout instead."
    )


def part_of(file: GgufFile, dialect: Dialect, name: str) -> Part | None:
    """What a tensor is in Hugging Face's layout; None for one that the configuration has taken in."""
    if name in ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"):
        return None
    matched = re.fullmatch(r"(?:blk\.(?P<block>\d+)\.)?(?P<stem>\w+)\.(?P<kind>weight|bias)", name)
    stem = matched["stem"] if matched else ""
    block = matched["block"] if matched else None
    known = _OUTER if block is None else dialect.block
    if matched is None or stem not in known:
        raise UnsupportedError(
            f"{file.path} has a tensor {name!r} that no {dialect.arch} model known here has. "
            "Give a folder in Hugging Face's layout instead."
        )
    prefix = "" if block is None else f"model.layers.{block}."
    return Part(
        name,
        f"{prefix}{known[stem]}.{matched['kind']}",
        heads=_heads(file, stem) if stem in dialect.interleaved else None,
        offset=dialect.norm_offset if stem.endswith("norm") else 0.0,
    )


def config_of(file: GgufFile, dialect: Dialect) -> dict[str, object]:
    """The content of `config.json`."""
    names = {**_KEYS, **dialect.keys}
    found = {
        k.removeprefix(dialect.arch + "."): v for k, v in file.metadata.items() if k.startswith(dialect.arch + ".")
    }
    strange = [
        k for k in found if k not in names and k not in _READ_ELSEWHERE and not (k in _MAY_BE_ZERO and not found[k])
    ]
    if strange:
        raise UnsupportedError(
            f"{file.path} sets {', '.join(strange)} for its {dialect.arch} model, which is not understood. "
            "Give a folder in Hugging Face's layout instead."
        )
    missing = [key for key in _KEYS if key not in found and key != "attention.head_count_kv"]
    if missing or "token_embd.weight" not in file.tensors:
        raise ModelFileError(f"{file.path} lacks {', '.join(missing) or 'token_embd.weight'}, which a model needs.")
    return {
        "architectures": [dialect.class_name],
        "model_type": dialect.model_type,
        "dtype": "float32",
        "num_key_value_heads": found["attention.head_count"],
        **{name: _meant(found[key]) for key, name in names.items() if key in found},
        "head_dim": _d_head(file),
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "bos_token_id": file.whole("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.whole("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.whole("tokenizer.ggml.padding_token_id"),
        **dialect.settings(file),
    }


def _heads(file: GgufFile, stem: str) -> int:
    queries = _need(file, "attention.head_count")
    return queries if stem == "attn_q" else file.whole(f"{file.arch}.attention.head_count_kv") or queries


def _need(file: GgufFile, key: str) -> int:
    value = file.whole(f"{file.arch}.{key}")
    if not value:
        raise ModelFileError(f"{file.path} lacks {file.arch}.{key}, which a model needs.")
    return value


def _d_head(file: GgufFile) -> int:
    key, value = (file.whole(f"{file.arch}.attention.{name}_length") for name in ("key", "value"))
    if key != value:
        raise UnsupportedError(f"{file.path} has keys {key} wide and values {value} wide; only equal widths are read.")
    return key or _need(file, "embedding_length") // _need(file, "attention.head_count")


def _layer_types(file: GgufFile, *, every: int) -> list[str]:
    """Attention is local but for each `every`th layer."""
    n_layers = _need(file, "block_count")
    return ["full_attention" if i % every == 0 else "sliding_attention" for i in range(1, n_layers + 1)]


def _gemma_scalar(file: GgufFile, *, largest: int) -> int:
    """What the scores are scaled by: the largest model of the family divides d_model among the heads."""
    if _need(file, "block_count") == largest:
        return _need(file, "embedding_length") // _need(file, "attention.head_count")
    return _d_head(file)


def _meant(value: object) -> object:
    return _plain(value) if isinstance(value, float) else value


def _plain(value: float) -> float:
    """A float32 of the header as the decimal number that was meant: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


# ---------------------------------------------------------------- rotary scaling


def _rope(file: GgufFile, base: float) -> dict[str, object]:
    prefix = f"{file.arch}.rope."
    theta = _plain(file.number(prefix + "freq_base", base))
    kind = file.metadata.get(prefix + "scaling.type", "none")
    factor = _plain(file.number(prefix + "scaling.factor", 1.0))
    original = file.whole(prefix + "scaling.original_context_length")
    if "rope_freqs.weight" in file.tensors:
        return {"rope_theta": theta, **_llama3(file, theta)}
    if "rope_factors_long.weight" in file.tensors:
        return {"rope_theta": theta, **_long(file, original)}
    if kind in ("none", "longrope") or (kind == "linear" and factor == 1.0):
        return {"rope_type": "default", "rope_theta": theta}
    if kind == "linear":
        return {"rope_type": "linear", "rope_theta": theta, "factor": factor}
    if kind == "yarn" and original:
        yarn = {"rope_type": "yarn", "rope_theta": theta, "factor": factor}
        return {**yarn, "original_max_position_embeddings": original}
    raise UnsupportedError(f"{file.path} scales its rotary positions by {kind!r}, which is not read.")


def _llama3(file: GgufFile, theta: float) -> dict[str, object]:
    """Llama 3.1 and later: the header holds only the resulting divisors; find the rule, and check it."""
    divisors = file.dequantised("rope_freqs.weight").astype(np.float64)
    rule = {"factor": float(divisors.max()), "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    original = 8192
    wavelengths = 2 * math.pi * theta ** (np.arange(len(divisors)) / len(divisors))
    smooth = np.clip((original / wavelengths - 1.0) / 3.0, 0.0, 1.0)
    expected = 1 / ((1 - smooth) / rule["factor"] + smooth)
    if not np.allclose(divisors, expected, rtol=1e-4):
        raise UnsupportedError(f"{file.path} scales its rotary positions by a table that is not Llama 3's rule.")
    return {"rope_type": "llama3", **rule, "original_max_position_embeddings": original}


def _long(file: GgufFile, original: int | None) -> dict[str, object]:
    if not original:
        raise ModelFileError(f"{file.path} has long rotary factors and does not say for which original context.")
    factors = {
        f"{length}_factor": [_plain(float(x)) for x in file.dequantised(f"rope_factors_{length}.weight")]
        for length in ("short", "long")
    }
    scaling = _plain(file.number(f"{file.arch}.rope.scaling.attn_factor", 0.0))
    extra = {"attention_factor": scaling} if scaling else {}
    return {"rope_type": "longrope", **factors, "original_max_position_embeddings": original, **extra}
