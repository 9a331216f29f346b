"""The frozen map, transposed: how a reading of the residual stream is carried down to what was written before it.

A reading is a vector for each position that it looks at. To carry many readings through a block's attention at once,
everything constant is folded into three arrays: the norms' gains and centring into the matrices, the norms' held
scales into the pattern.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.bases.basis import Decomposition, LayerFeatures
from micrographia.graph.writers import Layout, Writers, layout_of, writers_of
from micrographia.model.frozen import Frozen
from micrographia.model.products import multiply
from micrographia.model.weights import NormWeights

__all__ = ["Adjoint", "Block", "Rooms", "adjoint_of", "behind_norm", "constant_of"]

Rooms: TypeAlias = Callable[[str, int], Tensor]
"""A flat buffer to work in, by its name and its size."""

_KEYS = 32
"""Keys that are done at once, for all queries from the first of them on."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One block, transposed."""

    writers: Writers
    out: Float[Tensor, "d_model head_dim"]
    """From a reading of what attention wrote to a reading of each head's mixed values."""
    mix: Float[Tensor, "kv_head key query group"]
    """The pattern, over the scales of the norms in front of attention (keys) and behind it (queries)."""
    back: Float[Tensor, "kv_dim d_model"]
    """From a reading of the values to a reading of the residual."""
    attn_bias: Float[Tensor, "pos d_model"] | None
    """What attention writes whatever it reads."""
    skip: Float[Tensor, "d_model d_model"] | None
    skip_scale: Float[Tensor, "pos one one"] | None

    def attend(self, state: Float[Tensor, "pos row d_model"], rooms: Rooms) -> Float[Tensor, "pos row kv_dim"]:
        """Readings of what attention wrote, as readings of its values."""
        n_positions, n_rows, d_model = state.shape
        n_kv, _, _, group = self.mix.shape
        kv_dim, count = len(self.back), n_positions * n_rows
        d_head = kv_dim // n_kv
        z = rooms("mixed", count * self.out.shape[1]).view(count, -1)
        multiply(state.view(-1, d_model), self.out, z)
        heads = rooms("heads", z.numel()).view(n_kv, n_positions, group, n_rows, d_head)
        heads.copy_(z.view(n_positions, n_rows, n_kv, group, d_head).permute(2, 0, 3, 1, 4))
        queries = heads.view(n_kv, n_positions * group, -1)
        mixed = rooms("mixed", count * kv_dim).view(n_kv, n_positions, -1)
        for first in range(0, n_positions, _KEYS):
            keys = slice(first, min(first + _KEYS, n_positions))
            mix = self.mix[:, keys, first:n_positions].flatten(2)
            torch.bmm(mix, queries[:, first * group :], out=mixed[:, keys])
        values = rooms("values", count * kv_dim).view(n_positions, n_rows, kv_dim)
        by_head = mixed.view(n_kv, n_positions, n_rows, d_head).permute(1, 2, 0, 3)
        values.view(n_positions, n_rows, n_kv, d_head).copy_(by_head)
        return values

    def attend_alone(
        self, vectors: Float[Tensor, "row d_model"], position: Int[Tensor, " row"], n_positions: int
    ) -> Float[Tensor, "pos row kv_dim"]:
        """The same for rows that so far read at one position each."""
        n_kv, _, _, group = self.mix.shape
        heads = (vectors @ self.out).view(len(vectors), n_kv, group, -1)
        mixed = self.mix[:, :n_positions, position].permute(2, 0, 1, 3) @ heads  # row kv_head key d_head
        return mixed.permute(2, 0, 1, 3).reshape(n_positions, len(vectors), -1)

    def carry(self, state: Float[Tensor, "pos row d_model"], values: Float[Tensor, "pos row kv_dim"]) -> None:
        """Add to readings of the residual behind attention what they read through it."""
        multiply(values.view(-1, values.shape[-1]), self.back, state.view(-1, state.shape[-1]), add=True)

    def skipped(self, state: Float[Tensor, "pos row d_model"], room: Tensor) -> Tensor | None:
        """What is read through the skip path beside the features, in the room given."""
        if self.skip is None or self.skip_scale is None:
            return None
        read = room[: state.numel()].view(-1, state.shape[-1])
        multiply(state.view(read.shape), self.skip, read)
        return read.view(state.shape).mul_(self.skip_scale[: len(state)])


@dataclass(frozen=True, slots=True, eq=False)
class Adjoint:
    """A whole frozen run in a basis, transposed, in the dtype that is worked in."""

    blocks: tuple[Block, ...]
    layouts: tuple[Layout, ...]
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
    layouts = tuple(layout_of(found, layer) for layer in range(frozen.anatomy.n_layers))
    blocks = tuple(_block(found, layer, dtype, layouts) for layer in range(frozen.anatomy.n_layers))
    return Adjoint(blocks, layouts, frozen.embed.to(dtype), frozen.anatomy.parallel, found)


def behind_norm(frozen: Frozen, layer: int, rows: Float[Tensor, "row d_model"], positions: Tensor) -> Tensor:
    """Readings of the MLP's normalised input as readings of the residual in front of its norm."""
    scale = frozen.layers[layer].mlp_norm_scale
    read = _through(frozen.weights.blocks[layer].mlp_norm, rows)
    return read if scale is None else read / scale[positions]


def constant_of(frozen: Frozen, features: LayerFeatures) -> Float[Tensor, "pos d_model"]:
    """What an MLP writes whatever it reads; the norm's bias goes through the skip path as well."""
    norm = frozen.weights.blocks[features.layer].mlp_norm
    if features.skip is None or norm is None or norm.bias is None:
        return features.constant
    return features.constant + features.skip @ norm.bias


def _block(found: Decomposition, layer: int, dtype: torch.dtype, layouts: tuple[Layout, ...]) -> Block:
    frozen, a = found.frozen, found.frozen.anatomy
    weights, held = frozen.weights.blocks[layer], frozen.layers[layer]
    out = _through(weights.attn_post_norm, weights.attn.o.weight.T).T.to(dtype)
    back = _through(weights.attn_norm, weights.attn.v.weight).to(dtype)
    mix = held.pattern.transpose(1, 2)  # head key query
    if held.attn_norm_scale is not None:
        mix = mix / held.attn_norm_scale
    if held.attn_post_norm_scale is not None:
        mix = mix / held.attn_post_norm_scale.T
    grouped = mix.reshape(a.n_kv_heads, a.group, *mix.shape[1:]).permute(0, 2, 3, 1).to(dtype).contiguous()
    features = found.layers[layer]
    norm = weights.mlp_norm
    skip = None if features.skip is None else _through(norm, features.skip).to(dtype)
    scale = held.mlp_norm_scale
    ones = torch.ones_like(frozen.embed[:, :1])
    return Block(
        writers=writers_of(found, layer, constant_of(frozen, features), dtype, layouts),
        out=out,
        mix=grouped,
        back=back,
        attn_bias=_attn_bias(frozen, layer, dtype),
        skip=skip,
        skip_scale=None if skip is None else (ones if scale is None else 1 / scale).to(dtype)[:, :, None],
    )


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
