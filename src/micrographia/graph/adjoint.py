"""The frozen map, transposed: how a reading of the residual stream is carried down to what was written before it.

A reading is a vector for each position that it looks at. To carry many readings through a block's attention at once,
everything constant is folded into three arrays: the norms' gains and centring into the matrices, the norms' held
scales into the pattern.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.basis import Decomposition, LayerFeatures
from micrographia.graph.writers import Writers, writers_of
from micrographia.model.frozen import Frozen
from micrographia.model.weights import NormWeights

__all__ = ["Adjoint", "Block", "adjoint_of", "behind_norm"]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One block, transposed."""

    writers: Writers
    out: Float[Tensor, "head d_model d_head"]
    """From a reading of what attention wrote to a reading of each head's mixed values."""
    mix: Float[Tensor, "kv_head key group query"]
    """The pattern, over the scales of the norms in front of attention (keys) and behind it (queries)."""
    back: Float[Tensor, "kv_head d_head d_model"]
    """From a reading of the values to a reading of the residual."""
    attn_bias: Float[Tensor, "pos d_model"] | None
    """What attention writes whatever it reads."""
    skip: Float[Tensor, "d_model d_model"] | None
    skip_scale: Float[Tensor, "pos one one"] | None

    def attend(
        self, state: Float[Tensor, "pos row d_model"], heads: Tensor, values: Tensor
    ) -> Float[Tensor, "kv_head pos_row d_head"]:
        """Readings of what attention wrote, as readings of its values; `heads` and `values` are room to work in."""
        n_positions, n_rows, d_model = state.shape
        n_heads, _, d_head = self.out.shape
        n_kv = self.back.shape[0]
        flat, count = state.view(-1, d_model), n_positions * n_rows
        z = heads[: n_heads * count * d_head].view(n_heads, count, d_head)
        torch.bmm(flat.expand(n_heads, count, d_model), self.out, out=z)
        mix = self.mix[:, :n_positions, :, :n_positions].reshape(n_kv, n_positions, -1)
        y = values[: n_kv * count * d_head].view(n_kv, n_positions, n_rows * d_head)
        torch.bmm(mix, z.view(n_kv, -1, n_rows * d_head), out=y)
        return y.view(n_kv, count, d_head)

    def carry(self, state: Float[Tensor, "pos row d_model"], y: Float[Tensor, "kv_head pos_row d_head"]) -> None:
        """Add to readings of the residual behind attention what they read through it."""
        flat = state.view(-1, state.shape[-1])
        for read, back in zip(y, self.back, strict=True):
            flat.addmm_(read, back)

    def skipped(self, state: Float[Tensor, "pos row d_model"], room: Tensor) -> Tensor | None:
        """What is read through the skip path beside the features, in the room given."""
        if self.skip is None or self.skip_scale is None:
            return None
        read = room[: state.numel()].view(-1, state.shape[-1])
        torch.mm(state.view(read.shape), self.skip, out=read)
        return read.view(state.shape).mul_(self.skip_scale[: len(state)])


@dataclass(frozen=True, slots=True, eq=False)
class Adjoint:
    """A whole frozen run in a basis, transposed, in the dtype that is worked in."""

    blocks: tuple[Block, ...]
    embed: Float[Tensor, "pos d_model"]
    parallel: bool
    decomposition: Decomposition

    @property
    def n_positions(self) -> int:
        return len(self.embed)

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def dtype(self) -> torch.dtype:
        return self.embed.dtype


def adjoint_of(found: Decomposition, dtype: torch.dtype) -> Adjoint:
    """Fold what is constant."""
    frozen = found.frozen
    blocks = tuple(_block(found, layer, dtype) for layer in range(frozen.anatomy.n_layers))
    return Adjoint(blocks, frozen.embed.to(dtype), frozen.anatomy.parallel, found)


def behind_norm(frozen: Frozen, layer: int, rows: Float[Tensor, "row d_model"], positions: Tensor) -> Tensor:
    """Readings of the MLP's normalised input as readings of the residual in front of its norm."""
    scale = frozen.layers[layer].mlp_norm_scale
    read = _through(frozen.weights.blocks[layer].mlp_norm, rows)
    return read if scale is None else read / scale[positions]


def _block(found: Decomposition, layer: int, dtype: torch.dtype) -> Block:
    frozen, a = found.frozen, found.frozen.anatomy
    weights, held = frozen.weights.blocks[layer], frozen.layers[layer]
    out = _through(weights.attn_post_norm, weights.attn.o.weight.T).T.to(dtype)
    back = _through(weights.attn_norm, weights.attn.v.weight).to(dtype)
    mix = held.pattern.transpose(1, 2)  # head key query
    if held.attn_norm_scale is not None:
        mix = mix / held.attn_norm_scale
    if held.attn_post_norm_scale is not None:
        mix = mix / held.attn_post_norm_scale.T
    grouped = mix.reshape(a.n_kv_heads, a.group, *mix.shape[1:]).transpose(1, 2)
    features = found.layers[layer]
    norm = weights.mlp_norm
    skip = None if features.skip is None else _through(norm, features.skip).to(dtype)
    scale = held.mlp_norm_scale
    ones = torch.ones_like(frozen.embed[:, :1])
    return Block(
        writers=writers_of(found, layer, _constant(frozen, features), dtype),
        out=out.reshape(-1, a.n_heads, a.d_head).transpose(0, 1).contiguous(),
        mix=grouped.to(dtype).contiguous(),
        back=back.reshape(a.n_kv_heads, a.d_head, -1),
        attn_bias=_attn_bias(frozen, layer, dtype),
        skip=skip,
        skip_scale=None if skip is None else (ones if scale is None else 1 / scale).to(dtype)[:, :, None],
    )


def _constant(frozen: Frozen, features: LayerFeatures) -> Float[Tensor, "pos d_model"]:
    """What an MLP writes whatever it reads; the norm's bias goes through the skip path as well."""
    norm = frozen.weights.blocks[features.layer].mlp_norm
    if features.skip is None or norm is None or norm.bias is None:
        return features.constant
    return features.constant + features.skip @ norm.bias


def _attn_bias(frozen: Frozen, layer: int, dtype: torch.dtype) -> Tensor | None:
    weights = frozen.weights.blocks[layer]
    norm_bias = None if weights.attn_norm is None else weights.attn_norm.bias
    if norm_bias is None and weights.attn.v.bias is None and weights.attn.o.bias is None:
        return None
    return (frozen.attend_bias(layer).sum(0) + frozen.attn_bias(layer)).to(dtype)


def _through(norm: NormWeights | None, rows: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
    """Readings behind a norm as readings in front of it, up to the division by its scale."""
    if norm is None:
        return rows
    read = rows * norm.gain
    return (read - read.mean(-1, keepdim=True) if norm.centred else read).to(rows.dtype)
