"""A checkpoint's tensors, sorted into `Weights` by a family's row.

Nothing is copied where the disk's layout is ours: a matrix is the mapped file until it moves to another
device or dtype.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import assert_never

import torch
from torch import Tensor

from micrographia.errors import ModelFileError
from micrographia.model.anatomy import Anatomy
from micrographia.model.families import Family, Fused, Interleaved, Separate, family_of
from micrographia.model.weights import (
    AttentionWeights,
    BlockWeights,
    Linear,
    MlpWeights,
    NormWeights,
    Weights,
)

__all__ = ["assemble"]

_IN_BLOCK = re.compile(r"(^|\.)(layers|h)\.\d+\.")
_BUFFER = re.compile(r"rotary_emb\.inv_freq$|attn\.(masked_)?bias$|attention\.(masked_)?bias$")
"""Constants that older checkpoints saved along."""
_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def assemble(
    anatomy: Anatomy,
    model_type: str,
    tensors: Mapping[str, Tensor],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> Weights:
    """Collect a model's weights from a checkpoint in Hugging Face's layout."""
    parts = _Parts(anatomy, family_of(model_type), tensors, device, dtype)
    names = parts.family.names
    embed = parts.tensor(names.prefix + names.embed + ".weight", (anatomy.d_vocab, anatomy.d_model))
    pos_embed = None
    if names.pos_embed is not None:
        pos_embed = parts.tensor(names.prefix + names.pos_embed + ".weight", (anatomy.context, anatomy.d_model))
    weights = Weights(
        embed=embed,
        pos_embed=pos_embed,
        blocks=tuple(parts.block(layer) for layer in range(anatomy.n_layers)),
        final_norm=parts.norm(names.prefix + names.final_norm, anatomy.d_model),
        unembed=parts.unembed(embed),
    )
    parts.check_nothing_is_left()
    return weights


@dataclass(frozen=True, slots=True)
class _Parts:
    anatomy: Anatomy
    family: Family
    tensors: Mapping[str, Tensor]
    device: torch.device
    dtype: torch.dtype
    taken: set[str] = field(default_factory=set[str])

    def check_nothing_is_left(self) -> None:
        """Refuse a checkpoint whose blocks hold what this family has no place for: it would be left out unsaid."""
        left = sorted(
            name
            for name in self.tensors
            if name not in self.taken and _IN_BLOCK.search(name) and not _BUFFER.search(name)
        )
        if left:
            listed = ", ".join(left[:4]) + (f" and {len(left) - 4} more" if len(left) > 4 else "")
            raise ModelFileError(
                f"The checkpoint's blocks hold tensors that its configuration, as a {self.family.name} model, "
                f"has no place for: {listed}."
            )

    def find(self, name: str) -> Tensor | None:
        """A tensor by name; checkpoints saved from the bare decoder leave the prefix out."""
        for candidate in (name, name.removeprefix(self.family.names.prefix)):
            if candidate in self.tensors:
                stored = self.tensors[candidate]
                self.taken.add(candidate)
                if stored.dtype not in _FLOATS:
                    raise ModelFileError(
                        f"The tensor {candidate!r} is stored as {stored.dtype}, which means nothing without the scales "
                        "of a quantisation that is not read here. Use the unquantised checkpoint, or a GGUF."
                    )
                return stored.to(self.device, self.dtype)
        return None

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        found = self.find(name)
        if found is None:
            raise ModelFileError(f"The checkpoint has no tensor {name!r}, which a {self.family.name} model needs.")
        if tuple(found.shape) != shape:
            raise ModelFileError(
                f"The tensor {name!r} has shape {tuple(found.shape)}; the configuration asks for {shape}."
            )
        return found

    def linear(self, name: str, d_out: int, d_in: int, biased: bool | None) -> Linear:
        if self.family.form.transposed:
            return Linear(self.tensor(name + ".weight", (d_in, d_out)).T, self.find(name + ".bias"))
        return self.linear_as_stored(name, d_out, d_in, biased)

    def linear_as_stored(self, name: str, d_out: int, d_in: int, biased: bool | None) -> Linear:
        """`biased` True needs a bias; False leaves it where it is, to be found by `check_nothing_is_left`."""
        bias = self.tensor(name + ".bias", (d_out,)) if biased else None
        if biased is None:
            bias = self.find(name + ".bias")
        return Linear(self.tensor(name + ".weight", (d_out, d_in)), bias)

    def norm(self, name: str, d: int) -> NormWeights:
        gain = self.tensor(name + ".weight", (d,))
        if self.family.form.gain_offset:
            gain = gain.to(torch.promote_types(gain.dtype, torch.float32)) + self.family.form.gain_offset
        return NormWeights(gain, self.find(name + ".bias"), self.anatomy.eps, centred=self.anatomy.norm == "layer")

    def unembed(self, embed: Tensor) -> Linear:
        """The output matrix: the embedding itself where the two are tied."""
        names = self.family.names.unembed
        name = next((name for name in names if self.find(name + ".weight") is not None), names[0])
        if self.anatomy.tied:
            stored = self.find(name + ".weight")
            if stored is not None and not torch.equal(stored, embed):
                raise ModelFileError(
                    f"The configuration ties {name!r} to the embedding, and the checkpoint holds another matrix under "
                    "that name. Set tie_word_embeddings to false if the stored one is meant."
                )
            return Linear(embed)
        return self.linear_as_stored(name, self.anatomy.d_vocab, self.anatomy.d_model, None)

    def block(self, layer: int) -> BlockWeights:
        names = self.family.names
        root = names.prefix + names.block.format(layer=layer)
        d = self.anatomy.d_model

        def norm(name: str | None) -> NormWeights | None:
            return None if name is None else self.norm(root + name, d)

        return BlockWeights(
            attn_norm=norm(names.attn_norm),
            attn=self.attention(root),
            attn_post_norm=norm(names.attn_post_norm),
            mlp_norm=norm(names.mlp_norm),
            mlp=self.mlp(root),
            mlp_post_norm=norm(names.mlp_post_norm),
        )

    def attention(self, root: str) -> AttentionWeights:
        a, names = self.anatomy, self.family.names
        d_q, d_kv = a.n_heads * a.d_head, a.n_kv_heads * a.d_head
        q, k, v = self.qkv(root, d_q, d_kv)
        per_head = a.qk_norm == "head"
        return AttentionWeights(
            q=q,
            k=k,
            v=v,
            o=self.linear(root + names.o, a.d_model, d_q, a.attn_bias),
            q_norm=self.norm(root + names.q_norm, a.d_head if per_head else d_q) if names.q_norm else None,
            k_norm=self.norm(root + names.k_norm, a.d_head if per_head else d_kv) if names.k_norm else None,
        )

    def qkv(self, root: str, d_q: int, d_kv: int) -> tuple[Linear, Linear, Linear]:
        a = self.anatomy
        names = self.family.names.qkv
        match names:
            case Separate(q, k, v):
                return (
                    self.linear(root + q, d_q, a.d_model, a.attn_bias),
                    self.linear(root + k, d_kv, a.d_model, a.attn_bias),
                    self.linear(root + v, d_kv, a.d_model, a.attn_bias),
                )
            case Fused(name):
                q, k, v = _rows(self.linear(root + name, d_q + 2 * d_kv, a.d_model, a.attn_bias), (d_q, d_kv, d_kv))
                return q, k, v
            case Interleaved(name):
                by_head = self.linear(root + name, 3 * d_q, a.d_model, a.attn_bias)
                order = torch.arange(3 * d_q, device=self.device).view(a.n_heads, 3, a.d_head)
                q, k, v = (_pick(by_head, order[:, part].flatten()) for part in range(3))
                return q, k, v
            case _:
                assert_never(names)

    def mlp(self, root: str) -> MlpWeights:
        a, names = self.anatomy, self.family.names
        down = self.linear(root + names.down, a.d_model, a.d_mlp, a.mlp_bias)
        if a.gated and names.gate is None:
            gate, up = _rows(self.linear(root + names.up, 2 * a.d_mlp, a.d_model, a.mlp_bias), (a.d_mlp, a.d_mlp))
            return MlpWeights(gate, up, down)
        gate = self.linear(root + names.gate, a.d_mlp, a.d_model, a.mlp_bias) if names.gate else None
        return MlpWeights(gate, self.linear(root + names.up, a.d_mlp, a.d_model, a.mlp_bias), down)


def _rows(fused: Linear, sizes: tuple[int, ...]) -> tuple[Linear, ...]:
    """A fused map, cut by rows into its parts, without copying."""
    ends = list(accumulate(sizes))
    spans = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    return tuple(Linear(fused.weight[span], None if fused.bias is None else fused.bias[span]) for span in spans)


def _pick(fused: Linear, rows: Tensor) -> Linear:
    return Linear(fused.weight[rows], None if fused.bias is None else fused.bias[rows])
