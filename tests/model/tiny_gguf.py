"""Tiny GGUF files, written the way llama.cpp's converter writes them, beside the models they were made from.

The rules of that converter (Q and K reordered for `llama`, Gemma's norms stored plus one) are stated here a
second time, forwards, so that they can be compared with ours, which go backwards.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Quantisation

__all__ = ["ARCHS", "Arch", "byte_letters", "gguf_of", "hugging_face", "write_gguf"]

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "vocab_size": 300,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}


@dataclass(frozen=True)
class Arch:
    """One architecture: Hugging Face's class and sizes, and the extra keys of its header."""

    config_class: str
    sizes: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, float] = field(default_factory=dict)
    norms: str = "plain"


ARCHS = {
    "llama": Arch("LlamaConfig", {"tie_word_embeddings": False, "head_dim": 16}),
    "qwen2": Arch("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3": Arch("Qwen3Config", {"tie_word_embeddings": False, "head_dim": 128}, {"attention.key_length": 128}),
    "gemma2": Arch(
        "Gemma2Config",
        {"head_dim": 32, "sliding_window": 16, "query_pre_attn_scalar": 32},
        {
            "attention.key_length": 32,
            "attention.sliding_window": 16,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        norms="plus one",
    ),
    "gemma3": Arch(
        "Gemma3TextConfig",
        {"head_dim": 32, "sliding_window": 16, "query_pre_attn_scalar": 32, "num_hidden_layers": 7},
        {"attention.key_length": 32, "attention.sliding_window": 16, "rope.freq_base": 1e6},
        norms="plus one",
    ),
    "phi3": Arch("Phi3Config", {"tie_word_embeddings": False, "original_max_position_embeddings": 128}),
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


def hugging_face(arch: str) -> transformers.PreTrainedModel:
    """A random model of this architecture, by Hugging Face."""
    row = ARCHS[arch]
    config = getattr(transformers, row.config_class)(**{**_SIZES, **row.sizes})
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(torch.randn_like(tensor) * 0.1)
    return model.eval()


def gguf_of(arch: str, path: Path, *, quantised: bool = False, **more: Any) -> dict[str, torch.Tensor]:
    """Write that model as a GGUF; returns what Hugging Face had."""
    model = hugging_face(arch)
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    write_gguf(path, arch, model.config, state, quantised=quantised, **more)
    return state


def write_gguf(
    path: Path,
    arch: str,
    config: Any,
    state: dict[str, torch.Tensor],
    *,
    quantised: bool = False,
    keys: dict[str, Any] | None = None,
    extra: dict[str, np.ndarray] | None = None,
    tokenizer: str = "gpt2",
    pre: str = "smollm",
) -> None:
    writer = gguf.GGUFWriter(path, arch)
    headers = {key: getattr(config, name) for key, name in _KEYS.items()}
    headers |= {"rope.freq_base": 10_000.0} | ARCHS[arch].keys | (keys or {})
    if "attention.key_length" in headers:
        headers.setdefault("attention.value_length", headers["attention.key_length"])
    for key, value in headers.items():
        full = f"{arch}.{key}"
        if isinstance(value, str):
            writer.add_string(full, value)
        elif isinstance(value, int):
            writer.add_uint32(full, value)
        else:
            writer.add_float32(full, value)
    _add_tokenizer(writer, config.vocab_size, tokenizer, pre)
    names = gguf.get_tensor_name_map(
        {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}[arch], config.num_hidden_layers
    )
    for name, tensor in state.items():
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert stored is not None, name
        values = _as_stored(arch, stored, tensor.numpy(), config)
        kind = Quantisation.Q8_0 if quantised and values.ndim == 2 else Quantisation.F32
        writer.add_tensor(stored, gguf.quants.quantize(values, kind), raw_dtype=kind)
    for name, values in (extra or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _as_stored(arch: str, name: str, values: np.ndarray, config: Any) -> np.ndarray:
    if ARCHS[arch].norms == "plus one" and name.endswith("norm.weight"):
        return values + np.float32(1)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    part = name.split(".")[-2]
    if arch == "llama" and part in heads:
        d_head = values.shape[0] // heads[part]
        row = np.arange(values.shape[0]).reshape(heads[part], 2, d_head // 2)
        return np.ascontiguousarray(values[row.transpose(0, 2, 1).ravel()])
    return values


def byte_letters() -> list[str]:
    """GPT-2's letters for the bytes 0 to 255."""
    itself = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in itself else chr(next(others)) for byte in range(256)]


def _add_tokenizer(writer: gguf.GGUFWriter, size: int, model: str, pre: str) -> None:
    special = ["<|endoftext|>", "<s>", "</s>"]
    if model == "gpt2":
        merged = ["Ġa", "Ġb", "ab", "12"]
        tokens = [*special, *byte_letters(), *merged]
        kinds = [3, 3, 3] + [1] * (len(tokens) - 3)
        writer.add_token_merges(["Ġ a", "Ġ b", "a b", "1 2"])
    else:
        special = ["<pad>", "<bos>", "<eos>", "<unk>", "<mask>"] if model == "gemma" else ["<unk>", "<s>", "</s>"]
        tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "▁ab", "ab"]
        kinds = [3] * len(special) + [6] * 256 + [1] * 6
        writer.add_token_scores([0.0] * (256 + len(special)) + [-3.0, -4.0, -5.0, -1.0, -2.0, -1.5])
        writer.add_unk_token_id(special.index("<unk>"))
    padding = [f"<unused{i}>" for i in range(size - len(tokens))]
    if model != "gpt2":
        scores = [-100.0] * len(padding)
        writer.kv_data[-1]["tokenizer.ggml.scores"].value.extend(scores)
    writer.add_tokenizer_model("gpt2" if model == "gpt2" else "llama")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*tokens, *padding])
    writer.add_token_types([*kinds, *([4] * len(padding))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    if model == "gpt2":
        writer.add_add_bos_token(False)
    writer.add_chat_template(
        "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
