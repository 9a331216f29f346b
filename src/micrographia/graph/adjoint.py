"""The frozen map, transposed: how a reading of the residual stream is carried down to what was written before it.

A reading is a vector for each position that it looks at. To carry many readings through a block's attention at once,
everything constant is folded into three arrays: the norms' gains and centring into the matrices, the norms' held
scales into the pattern. The first positions see so few others that a matrix for each pair, in which the heads of a
group are one, is less work than all heads and the pattern.
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
from micrographia.model.weights import NormWeights

__all__ = ["Adjoint", "Block", "Rooms", "adjoint_of", "behind_norm"]

Rooms: TypeAlias = Callable[[str, int], Tensor]
"""A flat buffer to work in, by its name and its size."""

_NEAR = 2
"""Positions, at most, that are treated in pairs. A pair costs one head of each group, and position p is in p + 1."""
_SHORT = 64
"""Of longer prompts the first positions are too small a part to be treated by themselves."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One block, transposed."""

    writers: Writers
    out: Float[Tensor, "d_model head_dim"]
    """From a reading of what attention wrote to a reading of each head's mixed values."""
    mix: Float[Tensor, "kv_head key group query"]
    """The pattern, over the scales of the norms in front of attention (keys) and behind it (queries)."""
    near: tuple[Float[Tensor, "_ d_model kv_dim"], ...]
    """For each of the first positions: from a reading there to readings of the values at each position up to it."""
    back: Float[Tensor, "kv_dim d_model"]
    """From a reading of the values to a reading of the residual."""
    attn_bias: Float[Tensor, "pos d_model"] | None
    """What attention writes whatever it reads."""
    skip: Float[Tensor, "d_model d_model"] | None
    skip_scale: Float[Tensor, "pos one one"] | None

    def attend(self, state: Float[Tensor, "pos row d_model"], rooms: Rooms) -> Float[Tensor, "pos row kv_dim"]:
        """Readings of what attention wrote, as readings of its values."""
        n_positions, n_rows, d_model = state.shape
        n_kv, _, group, _ = self.mix.shape
        n_near, kv_dim = min(len(self.near), n_positions), len(self.back)
        d_head, far = kv_dim // n_kv, n_positions - n_near
        values = rooms("values", n_positions * n_rows * kv_dim).view(n_positions, n_rows, kv_dim)
        if far:
            z = rooms("mixed", far * n_rows * self.out.shape[1]).view(far * n_rows, -1)
            torch.mm(state[n_near:].view(-1, d_model), self.out, out=z)
            heads = rooms("heads", z.numel()).view(n_kv, group, far, n_rows, d_head)
            heads.copy_(z.view(far, n_rows, n_kv, group, d_head).permute(2, 3, 0, 1, 4))
            mix = self.mix[:, :n_positions, :, n_near:n_positions].reshape(n_kv, n_positions, -1)
            y = rooms("mixed", values.numel()).view(n_kv, n_positions, -1)
            torch.bmm(mix, heads.view(n_kv, group * far, -1), out=y)
            values.view(n_positions, n_rows, n_kv, d_head).copy_(
                y.view(n_kv, n_positions, n_rows, d_head).permute(1, 2, 0, 3)
            )
        else:
            values.zero_()
        for query, maps in enumerate(self.near[:n_near]):
            for key, one in enumerate(maps):
                values[key].addmm_(state[query], one)
        return values

    def attend_alone(
        self, vectors: Float[Tensor, "row d_model"], position: Int[Tensor, " row"], n_positions: int
    ) -> Float[Tensor, "pos row kv_dim"]:
        """The same for rows that so far read at one position each."""
        n_kv, _, group, _ = self.mix.shape
        heads = (vectors @ self.out).view(len(vectors), n_kv, group, -1)
        mixed = torch.einsum("nkgr,rngd->krnd", self.mix[:, :n_positions, :, position], heads)
        return mixed.reshape(n_positions, len(vectors), -1)

    def carry(self, state: Float[Tensor, "pos row d_model"], values: Float[Tensor, "pos row kv_dim"]) -> None:
        """Add to readings of the residual behind attention what they read through it."""
        state.view(-1, state.shape[-1]).addmm_(values.view(-1, values.shape[-1]), self.back)

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
    grouped = mix.reshape(a.n_kv_heads, a.group, *mix.shape[1:]).transpose(1, 2).to(dtype).contiguous()
    features = found.layers[layer]
    norm = weights.mlp_norm
    skip = None if features.skip is None else _through(norm, features.skip).to(dtype)
    scale = held.mlp_norm_scale
    ones = torch.ones_like(frozen.embed[:, :1])
    return Block(
        writers=writers_of(found, layer, _constant(frozen, features), dtype, layouts),
        out=out,
        mix=grouped,
        near=_near(out, grouped),
        back=back,
        attn_bias=_attn_bias(frozen, layer, dtype),
        skip=skip,
        skip_scale=None if skip is None else (ones if scale is None else 1 / scale).to(dtype)[:, :, None],
    )


def _near(
    out: Float[Tensor, "d_model head_dim"], mix: Float[Tensor, "kv_head key group query"]
) -> tuple[Float[Tensor, "_ d_model kv_dim"], ...]:
    n_kv, n_positions, group, _ = mix.shape
    count = 0 if n_positions > _SHORT else min(group - 1, _NEAR, n_positions)
    by_head = out.reshape(len(out), n_kv, group, -1)

    def pair(key: int, query: int) -> Tensor:
        return (by_head * mix[:, key, :, query, None]).sum(2).flatten(1)

    return tuple(torch.stack([pair(key, query) for key in range(query + 1)]) for query in range(count))


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
