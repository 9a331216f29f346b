"""The forward pass: every family, one function per part, each activation through the gate."""

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from micrographia.ids import Layer
from micrographia.model.anatomy import Activation, Anatomy, Rotary
from micrographia.model.batch import Batch
from micrographia.model.hooks import Gate
from micrographia.model.site import Point
from micrographia.model.weights import AttentionWeights, BlockWeights, MlpWeights, NormWeights, Weights

__all__ = [
    "KeyValues",
    "Pass",
    "Stream",
    "Wanted",
    "activate",
    "allowed_keys",
    "forward",
    "normalise",
    "onward",
    "unembed",
]

Stream: TypeAlias = Float[Tensor, "batch pos d_model"]
Wanted = Literal["all", "last", "none"]
"""The positions whose logits are computed."""


@dataclass(slots=True)
class KeyValues:
    """What earlier tokens left for later ones to attend to; grows with each pass."""

    keys: dict[Layer, Float[Tensor, "batch past kv_head d_head"]] = field(default_factory=dict[Layer, Tensor])
    values: dict[Layer, Float[Tensor, "batch past kv_head d_head"]] = field(default_factory=dict[Layer, Tensor])
    positions: Tensor | None = None
    real: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """What every part of one forward pass shares."""

    anatomy: Anatomy
    gate: Gate
    batch: Batch
    past: KeyValues | None
    keys: Tensor
    """The positions of all keys, a cached prefix's too."""
    real_keys: Tensor | None
    masks: dict[int | None, Tensor]
    """Filled as layers ask for them: a plain causal pass through the fused kernel needs none."""
    turns: dict[Rotary, tuple[Tensor, Tensor]]


def forward(
    weights: Weights,
    anatomy: Anatomy,
    batch: Batch,
    gate: Gate,
    *,
    past: KeyValues | None = None,
    wanted: Wanted = "all",
    depth: int | None = None,
) -> Float[Tensor, "batch pos d_vocab"] | None:
    """Run the model on a batch; logits at the wanted positions, None when none are wanted.

    `depth` stops after so many blocks, when nothing above them is wanted.
    """
    run = _begin(weights, anatomy, batch, gate, past)
    x = F.embedding(batch.ids, weights.embed)
    if anatomy.embed_scale != 1.0:
        x = x * torch.tensor(anatomy.embed_scale, dtype=x.dtype, device=x.device)
    if torch.is_grad_enabled() and not x.requires_grad:
        x = x.requires_grad_()  # a leaf, so that everything that is read can be differentiated by
    x = gate(Point.EMBED, None, x)
    if weights.pos_embed is not None:
        x = x + gate(Point.POS_EMBED, None, F.embedding(batch.positions, weights.pos_embed))
    for layer, block in enumerate(weights.blocks[:depth]):
        x = _block(run, Layer(layer), block, x)
    match wanted:
        case "none":
            return None
        case "last":
            rows = torch.arange(batch.n_rows, device=x.device)
            return unembed(weights, anatomy, x[rows, batch.last_columns()][:, None], gate)
        case "all":
            return unembed(weights, anatomy, x, gate)


def onward(
    weights: Weights,
    anatomy: Anatomy,
    batch: Batch,
    gate: Gate,
    x: Stream,
    *,
    layer: int,
    past: KeyValues | None = None,
    allowed: Bool[Tensor, "batch 1 query key"] | None = None,
) -> Stream:
    """Take a residual that block `layer` reads through the blocks from there on; the residual behind the last one.

    `past` holds keys and values of what stands in front of the batch, for these blocks. `allowed` forbids keys to
    queries beyond what order, padding and windows do: columns may be branches that share what is past, and no more.
    """
    run = _begin(weights, anatomy, batch, gate, past)
    if allowed is not None:
        for window in set(anatomy.windows):
            run.masks[window] = allowed & allowed_keys(batch.positions, run.keys, run.real_keys, window)
    for later, block in enumerate(weights.blocks[layer:], layer):
        x = _block(run, Layer(later), block, x)
    return x


def _begin(weights: Weights, anatomy: Anatomy, batch: Batch, gate: Gate, past: KeyValues | None) -> Pass:
    """Positions and rotations, once for all layers that share them."""
    positions, real = batch.positions, batch.real
    if past is not None:
        past.real = _grown(past.real, torch.ones_like(batch.ids, dtype=torch.bool) if real is None else real)
        past.positions = _grown(past.positions, positions)
        positions, real = past.positions, past.real
    dtype = weights.embed.dtype
    turns = {turn: _turn(turn, batch.positions, dtype) for turn in set(anatomy.rotaries) if turn is not None}
    return Pass(anatomy, gate, batch, past, positions, real, {}, turns)


def _mask(run: Pass, layer: Layer) -> Bool[Tensor, "batch 1 query key"]:
    """Which keys each query of a layer may attend to; one mask for all layers with the same window."""
    window = run.anatomy.windows[layer]
    if window not in run.masks:
        run.masks[window] = allowed_keys(run.batch.positions, run.keys, run.real_keys, window)
    return run.masks[window]


def _grown(old: Tensor | None, new: Tensor) -> Tensor:
    return new if old is None else torch.cat([old, new], dim=1)


def allowed_keys(
    queries: Tensor, keys: Tensor, real: Tensor | None, window: int | None
) -> Bool[Tensor, "batch 1 query key"]:
    """Which keys each query may attend to: real ones, not later, not beyond the window.

    A padded query may attend to everything up to itself, so that its softmax stays finite; nobody reads it.
    """
    back = queries[:, :, None] - keys[:, None, :]
    allowed = back >= 0
    if window is not None:
        allowed &= back < window
    if real is not None:
        padded_query = ~real[:, -queries.shape[1] :, None]
        allowed &= real[:, None, :] | padded_query
    return allowed[:, None]


def _turn(rotary: Rotary, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines [batch pos 1 pair], computed in float64 where the device has it."""
    precise = torch.float32 if positions.device.type == "mps" else torch.float64
    frequencies = torch.tensor(rotary.frequencies, dtype=precise, device=positions.device)
    angles = (positions.to(precise)[..., None] * frequencies)[:, :, None]
    return (angles.cos() * rotary.scaling).to(dtype), (angles.sin() * rotary.scaling).to(dtype)


def _block(run: Pass, layer: Layer, block: BlockWeights, x: Stream) -> Stream:
    gate = run.gate
    x = gate(Point.RESID_PRE, layer, x)
    attended = _attention(run, layer, block, x)
    if run.anatomy.parallel:
        return gate(Point.RESID_POST, layer, x + attended + _mlp(run, layer, block, x))
    x = gate(Point.RESID_MID, layer, x + attended)
    return gate(Point.RESID_POST, layer, x + _mlp(run, layer, block, x))


def normalise(
    norm: NormWeights,
    x: Float[Tensor, "... d"],
    gate: Gate,
    points: tuple[Point, Point, Point],
    layer: Layer | None,
) -> Float[Tensor, "... d"]:
    """gain · x / scale + bias, at least in float32; the points are those of input, scale and output."""
    before, at_scale, after = points
    x = gate(before, layer, x)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if norm.centred:
        wide = wide - wide.mean(-1, keepdim=True)
    scale = (wide.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    scale = gate(at_scale, layer, scale)
    normed = wide / scale * norm.gain
    if norm.bias is not None:
        normed = normed + norm.bias
    return gate(after, layer, normed.to(x.dtype))


def _attention(run: Pass, layer: Layer, block: BlockWeights, x: Stream) -> Stream:
    gate, w = run.gate, block.attn
    if block.attn_norm is not None:
        x = normalise(block.attn_norm, x, gate, (Point.ATTN_NORM_IN, Point.ATTN_NORM_SCALE, Point.ATTN_IN), layer)
    else:
        x = gate(Point.ATTN_IN, layer, x)
    q, k, v = _queries_keys_values(run, layer, w, x)
    z = gate(Point.Z, layer, _mix(run, layer, q, k, v))
    out = w.o(z.flatten(-2))
    if block.attn_post_norm is not None:
        points = (Point.ATTN_POST_NORM_IN, Point.ATTN_POST_NORM_SCALE, Point.ATTN_OUT)
        return normalise(block.attn_post_norm, out, gate, points, layer)
    return gate(Point.ATTN_OUT, layer, out)


def _queries_keys_values(run: Pass, layer: Layer, w: AttentionWeights, x: Stream) -> tuple[Tensor, Tensor, Tensor]:
    gate = run.gate
    q, k, v = (_heads(part(x), run.anatomy.d_head) for part in (w.q, w.k, w.v))
    if w.q_norm is not None and w.k_norm is not None:
        q = _normalise_heads(w.q_norm, q, gate, (Point.Q_NORM_IN, Point.Q_NORM_SCALE, Point.Q), layer)
        k = _normalise_heads(w.k_norm, k, gate, (Point.K_NORM_IN, Point.K_NORM_SCALE, Point.K), layer)
    else:
        q, k = gate(Point.Q, layer, q), gate(Point.K, layer, k)
    v = gate(Point.V, layer, v)
    rotary = run.anatomy.rotaries[layer]
    if rotary is None:
        return q, k, v
    turn = run.turns[rotary]
    return gate(Point.Q_ROT, layer, _rotate(q, *turn)), gate(Point.K_ROT, layer, _rotate(k, *turn)), v


def _heads(x: Float[Tensor, "batch pos wide"], d_head: int) -> Float[Tensor, "batch pos some_head d_head"]:
    return x.view(*x.shape[:2], -1, d_head)


def _grouped(x: Float[Tensor, "..."], axis: int, anatomy: Anatomy) -> Float[Tensor, "..."]:
    """The axis of query heads as two: key-value head, and query head within its group."""
    return x.reshape(*x.shape[:axis], anatomy.n_kv_heads, anatomy.group, *x.shape[axis + 1 :])


def _normalise_heads(
    norm: NormWeights,
    x: Float[Tensor, "batch pos some_head d_head"],
    gate: Gate,
    points: tuple[Point, Point, Point],
    layer: Layer,
) -> Float[Tensor, "batch pos some_head d_head"]:
    """Each head by itself, or all heads as one vector: the length of the gain says which."""
    before, at_scale, after = points
    x = gate(before, layer, x)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    flat = norm.gain.shape[0] != x.shape[-1]
    mean = wide.square().mean((-2, -1) if flat else -1, keepdim=True)
    scale = gate(at_scale, layer, (mean + norm.eps).sqrt())
    gain = norm.gain.view(-1, x.shape[-1])
    return gate(after, layer, (wide / scale * gain).to(x.dtype))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pair i = (x[i], x[i + n]) by its angle; what lies beyond the 2n rotary dimensions stays."""
    n = cos.shape[-1]
    first, second, rest = x[..., :n], x[..., n : 2 * n], x[..., 2 * n :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)


def _mix(run: Pass, layer: Layer, q: Tensor, k: Tensor, v: Tensor) -> Float[Tensor, "batch pos head d_head"]:
    """Each head's values, weighted by its pattern.

    The fused kernel does the work unless somebody edits scores or pattern. Who only reads them gets them computed
    beside it, so that reading changes nothing.
    """
    gate, a = run.gate, run.anatomy
    if run.past is not None:
        k = run.past.keys[layer] = _grown(run.past.keys.get(layer), k)
        v = run.past.values[layer] = _grown(run.past.values.get(layer), v)
    edited = gate.edits(Point.SCORES, layer) or gate.edits(Point.PATTERN, layer)
    watched = gate.watched(Point.SCORES, layer) or gate.watched(Point.PATTERN, layer)
    pattern = _pattern(run, layer, q, k) if watched or a.attn_cap is not None else None
    if pattern is not None and (edited or a.attn_cap is not None):
        return torch.einsum("bngqk,bknd->bqngd", _grouped(pattern, 1, a), v).flatten(2, 3)
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    width, window = q.shape[2], a.windows[layer]
    plain = run.batch.real is None and run.past is None and (window is None or window >= width)
    mixed = F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=None if plain else _mask(run, layer),
        is_causal=plain,
        scale=a.attn_scale,
        enable_gqa=a.n_heads != a.n_kv_heads,
    )
    return mixed.transpose(1, 2)


def _pattern(run: Pass, layer: Layer, q: Tensor, k: Tensor) -> Float[Tensor, "batch head query key"]:
    """softmax of the scaled, capped, masked scores; the scores are shown before the mask."""
    gate, a = run.gate, run.anatomy
    scores = torch.einsum("bqngd,bknd->bngqk", _grouped(q, 2, a), k).flatten(1, 2) * a.attn_scale
    if a.attn_cap is not None:
        scores = torch.tanh(scores / a.attn_cap) * a.attn_cap
    scores = gate(Point.SCORES, layer, scores)
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    pattern = wide.masked_fill(~_mask(run, layer), -math.inf).softmax(-1).to(scores.dtype)
    return gate(Point.PATTERN, layer, pattern)


def _mlp(run: Pass, layer: Layer, block: BlockWeights, x: Stream) -> Stream:
    gate, w = run.gate, block.mlp
    if block.mlp_norm is not None:
        x = normalise(block.mlp_norm, x, gate, (Point.MLP_NORM_IN, Point.MLP_NORM_SCALE, Point.MLP_IN), layer)
    else:
        x = gate(Point.MLP_IN, layer, x)
    out = w.down(gate(Point.POST, layer, _neurons(run, layer, w, x)))
    if block.mlp_post_norm is not None:
        points = (Point.MLP_POST_NORM_IN, Point.MLP_POST_NORM_SCALE, Point.MLP_OUT)
        return normalise(block.mlp_post_norm, out, gate, points, layer)
    return gate(Point.MLP_OUT, layer, out)


def _neurons(run: Pass, layer: Layer, w: MlpWeights, x: Stream) -> Float[Tensor, "batch pos neuron"]:
    gate, kind = run.gate, run.anatomy.activation
    if w.gate is None:
        return activate(kind, gate(Point.UP, layer, w.up(x)))
    return activate(kind, gate(Point.GATE, layer, w.gate(x))) * gate(Point.UP, layer, w.up(x))


def activate(kind: Activation, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    match kind:
        case Activation.SILU:
            return F.silu(x)
        case Activation.GELU:
            return F.gelu(x)
        case Activation.GELU_TANH:
            return F.gelu(x, approximate="tanh")
        case Activation.RELU:
            return F.relu(x)


def unembed(weights: Weights, anatomy: Anatomy, x: Stream, gate: Gate) -> Float[Tensor, "batch pos d_vocab"]:
    """Residual → logits: final norm, output matrix, soft-cap."""
    points = (Point.FINAL_NORM_IN, Point.FINAL_NORM_SCALE, Point.FINAL_NORM_OUT)
    logits = weights.unembed(normalise(weights.final_norm, x, gate, points, None))
    if anatomy.logit_cap is not None:
        logits = torch.tanh(logits / anatomy.logit_cap) * anatomy.logit_cap
    return gate(Point.LOGITS, None, logits)
