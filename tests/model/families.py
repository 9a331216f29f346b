"""A tiny random model of every family, in float64, with grouped heads where the family has them.

Hugging Face's implementation is the oracle. It casts to float32 inside norms, softmax and rotations whatever the
model's dtype; `exactly()` keeps those casts in float64, so that the comparison can be held to 1e-10.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

VOCAB = 80

_SIZES = dict(
    vocab_size=VOCAB,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=None,
)
_GPT2 = dict(vocab_size=VOCAB, n_embd=24, n_layer=3, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=1)
_NEOX = {key: value for key, value in _SIZES.items() if key != "num_key_value_heads"}
_SLIDING = dict(layer_types=["sliding_attention", "full_attention", "sliding_attention"], sliding_window=5)
_GEMMA = _SIZES | _SLIDING | dict(head_dim=8, query_pre_attn_scalar=10)
_LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=500.0,
    factor=4.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
)

TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", _GPT2),
    "neox": ("gpt_neox", _NEOX),
    "neox-serial": ("gpt_neox", _NEOX | dict(use_parallel_residual=False, attention_bias=False)),
    "llama": ("llama", _SIZES),
    "llama-tied-biased": (
        "llama",
        _SIZES | dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True, head_dim=10),
    ),
    "llama3-scaled": ("llama", _SIZES | dict(rope_parameters=_LLAMA3)),
    "mistral": ("mistral", _SIZES | dict(sliding_window=5)),
    "qwen2": ("qwen2", _SIZES | _SLIDING | dict(use_sliding_window=True)),
    "qwen3": ("qwen3", _SIZES | dict(head_dim=8)),
    "gemma2": ("gemma2", _GEMMA | dict(attn_logit_softcapping=3.0, final_logit_softcapping=2.0)),
    "gemma3": ("gemma3_text", _GEMMA),
    "olmo2": ("olmo2", _SIZES),
    "phi3": ("phi3", _SIZES),
    "phi3-partial": ("phi3", _SIZES | dict(partial_rotary_factor=0.67, head_dim=6, sliding_window=5)),
}
"""Name of the case → Hugging Face's model type and the configuration's values."""


class _Doubles(TorchFunctionMode):
    """Turns every request for float32 into one for float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
        kwargs = {key: torch.float64 if value is torch.float32 else value for key, value in kwargs.items()}
        return func(*args, **kwargs)


@contextmanager
def exactly() -> Iterator[None]:
    """Run Hugging Face's code in float64 throughout."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Doubles(), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)


def hugging_face(case: str, *, seed: int = 0) -> PreTrainedModel:
    """The oracle: every parameter random, so that no gain is 1 and no bias 0."""
    model_type, values = TINY[case]
    config: PretrainedConfig = AutoConfig.for_model(model_type, **values)
    with exactly():
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float64).eval()
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(drawn * parameter.shape[-1] ** -0.5)
            else:
                parameter.add_(drawn * 0.3)
    return model


def ids_for(rows: int, width: int, *, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, VOCAB, (rows, width), generator=generator)
