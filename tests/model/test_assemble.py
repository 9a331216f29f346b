"""A checkpoint's tensors, sorted into place: under any of their names, and refused when they do not fit."""

import pytest
import torch
from torch import Tensor

from micrographia.errors import ModelFileError
from micrographia.model.assemble import assemble
from micrographia.model.model import Model
from micrographia.model.settings import anatomy_of
from micrographia.model.weights import Weights
from tests.model.families import TINY, hugging_face


def tensors_of(case: str) -> dict[str, Tensor]:
    """What a checkpoint of this case holds: an output matrix that is the embedding is not written twice."""
    theirs = hugging_face(case)
    state = {name: tensor.detach() for name, tensor in theirs.state_dict().items()}
    if theirs.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    return state


def assembled(case: str, tensors: dict[str, Tensor], dtype: torch.dtype = torch.float64) -> Weights:
    anatomy = anatomy_of(hugging_face(case).config)
    return assemble(anatomy, TINY[case][0], tensors, device=torch.device("cpu"), dtype=dtype)


def logits(like: Model, weights: Weights) -> Tensor:
    return Model(like.name, like.anatomy, weights, like.tokenizer).run("t3 t14 t15 t9").logits


@pytest.mark.parametrize("case", ["gpt2", "llama", "neox", "gemma2"])
def test_a_checkpoint_of_the_bare_decoder_lacks_the_prefix_and_is_read(tiny, case: str) -> None:
    """The original GPT-2 says `h.0.…` where others say `transformer.h.0.…`."""
    prefix = {"gpt2": "transformer.", "neox": "gpt_neox."}.get(case, "model.")
    bare = {name.removeprefix(prefix): tensor for name, tensor in tensors_of(case).items()}
    assert not any(name.startswith(prefix) for name in bare)
    model = tiny(case)
    assert torch.equal(logits(model, assembled(case, bare)), model.run("t3 t14 t15 t9").logits)


@pytest.mark.parametrize("name", ["embed_out", "lm_head"])
def test_neox_has_its_output_matrix_under_either_name(tiny, name: str) -> None:
    tensors = tensors_of("neox")
    (there,) = (old for old in ("embed_out.weight", "lm_head.weight") if old in tensors)
    tensors[f"{name}.weight"] = tensors.pop(there)
    model = tiny("neox")
    assert torch.equal(logits(model, assembled("neox", tensors)), model.run("t3 t14 t15 t9").logits)


def test_an_output_matrix_of_its_own_must_be_there() -> None:
    tensors = tensors_of("llama")
    del tensors["lm_head.weight"]
    with pytest.raises(ModelFileError, match=r"has no tensor 'lm_head\.weight', which a llama model needs"):
        assembled("llama", tensors)


def test_a_tied_output_matrix_is_the_embedding_itself() -> None:
    for case in ("gpt2", "llama-tied-biased", "gemma3"):
        weights = assembled(case, tensors_of(case))
        assert weights.unembed.weight is weights.embed
        assert weights.unembed.bias is None


def test_every_tensor_of_every_family_is_needed(case: str) -> None:
    """And nothing that a checkpoint holds is passed over: without any one tensor the model is refused or another."""
    tensors = tensors_of(case)
    whole = numbers(assembled(case, tensors))
    for name in tensors:
        rest = {other: tensor for other, tensor in tensors.items() if other != name}
        if name.endswith(".bias") and not announced(case, name):
            assert numbers(assembled(case, rest)) < whole, name
            continue
        wanted = "embed_out.weight" if case.startswith("neox") and name == "lm_head.weight" else name
        with pytest.raises(ModelFileError, match=f"has no tensor '{wanted}'"):
            assembled(case, rest)


def announced(case: str, name: str) -> bool:
    """Whether the configuration itself says that this bias is there."""
    return case == "llama-tied-biased" or (case == "neox" and ".attention." in name)


def numbers(part: object) -> int:
    """How many numbers a value holds, all in all."""
    from dataclasses import fields, is_dataclass

    if isinstance(part, Tensor):
        return part.numel()
    if isinstance(part, tuple):
        return sum(map(numbers, part))
    return sum(numbers(getattr(part, f.name)) for f in fields(part)) if is_dataclass(part) else 0


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("llama", "model.embed_tokens.weight"),
        ("llama", "model.layers.1.self_attn.k_proj.weight"),
        ("llama", "model.layers.2.mlp.down_proj.weight"),
        ("llama", "model.norm.weight"),
        ("gpt2", "transformer.wpe.weight"),
        ("gpt2", "transformer.h.0.attn.c_attn.weight"),
        ("phi3", "model.layers.0.mlp.gate_up_proj.weight"),
        ("qwen3", "model.layers.0.self_attn.q_norm.weight"),
    ],
)
def test_a_tensor_of_another_shape_is_named_with_both_shapes(case: str, name: str) -> None:
    tensors = tensors_of(case)
    wanted = tuple(tensors[name].shape)
    tensors[name] = tensors[name][:-1]
    wrong = tuple(tensors[name].shape)
    with pytest.raises(ModelFileError) as caught:
        assembled(case, tensors)
    assert str(caught.value) == f"The tensor {name!r} has shape {wrong}; the configuration asks for {wanted}."


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2])
def test_quantised_numbers_are_not_taken_for_weights(dtype: torch.dtype) -> None:
    """Their scales lie in tensors that nobody here asks for: read as they are, they would be another model."""
    tensors = tensors_of("llama")
    name = "model.layers.1.self_attn.q_proj.weight"
    tensors[name] = tensors[name].to(dtype)
    with pytest.raises(ModelFileError, match=f"{name}' is stored as {dtype}, which means nothing without the scales"):
        assembled("llama", tensors)


def test_a_matrix_that_lies_right_is_not_copied() -> None:
    tensors = tensors_of("llama")
    weights = assembled("llama", tensors)
    assert weights.embed.data_ptr() == tensors["model.embed_tokens.weight"].data_ptr()
    down = weights.blocks[2].mlp.down.weight
    assert down.data_ptr() == tensors["model.layers.2.mlp.down_proj.weight"].data_ptr()
    narrow = assembled("llama", tensors, torch.bfloat16)
    assert {narrow.embed.dtype, narrow.blocks[0].attn.q.weight.dtype, narrow.final_norm.gain.dtype} == {torch.bfloat16}


def test_gemmas_gains_are_stored_less_one() -> None:
    tensors = tensors_of("gemma2")
    assert torch.equal(assembled("gemma2", tensors).final_norm.gain, tensors["model.norm.weight"] + 1)
