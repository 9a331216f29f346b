"""The frozen linear map of one run.

Hold the attention patterns, the norm scales, the MLP's nonlinear factors and the logits' soft-cap at the values they
had in one run, and what is left of the model is affine in the residual stream. `Frozen` is that map, part by part:

    resid_pre[l+1] = resid_pre[l] + Σ_h head[l, h] + attn_bias[l] + mlp[l]          (all [pos d_model])

with head[l] = attend(l, resid_pre[l]) + attend_bias(l) and mlp[l] = transform(l, resid_mid[l]) + transform_bias(l).
On the clean run the sum is exact, and away from it the map is the model with everything nonlinear pinned.
"""

from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.errors import CallError
from micrographia.ids import Layer, TokenId
from micrographia.model.anatomy import Anatomy
from micrographia.model.forward import activate
from micrographia.model.model import Model
from micrographia.model.run import Run
from micrographia.model.site import Point, Site, points_of
from micrographia.model.tokens import Prompt
from micrographia.model.weights import NormWeights, Weights

__all__ = ["Frozen", "FrozenLayer", "LogitReader", "Parts", "freeze"]

_Stream: TypeAlias = Float[Tensor, "pos d_model"]
_Scale: TypeAlias = Float[Tensor, "pos one"]

_PINNED = (
    Point.PATTERN,
    Point.ATTN_NORM_SCALE,
    Point.ATTN_POST_NORM_SCALE,
    Point.MLP_NORM_SCALE,
    Point.MLP_POST_NORM_SCALE,
)
_LOOKED_AT = (Point.GATE, Point.UP, Point.MLP_OUT, Point.RESID_PRE, Point.RESID_MID)
_ALL = slice(None)


@dataclass(frozen=True, slots=True)
class FrozenLayer:
    """What one block's nonlinear parts came to in the run; None where the block has no such part."""

    pattern: Float[Tensor, "head query key"]
    attn_norm_scale: _Scale | None
    attn_post_norm_scale: _Scale | None
    mlp_norm_scale: _Scale | None
    mlp_post_norm_scale: _Scale | None
    slope: Float[Tensor, "pos neuron"]
    """post / up: act(gate) in a gated MLP, act(up) / up in a plain one."""


@dataclass(frozen=True, slots=True, repr=False)
class Parts:
    """Everything that was added to the residual stream in the run."""

    embed: _Stream
    heads: Float[Tensor, "layer head pos d_model"]
    attn_biases: Float[Tensor, "layer pos d_model"]
    mlps: Float[Tensor, "layer pos d_model"]

    def __repr__(self) -> str:
        n_layers, n_heads, n_positions, _ = self.heads.shape
        return f"<Parts: embedding, {n_layers} × {n_heads} heads, {n_layers} MLPs at {n_positions} positions>"

    def before(self, layer: int) -> _Stream:
        """The residual that block `layer` reads: the sum of all that came before it."""
        attended = self.heads[:layer].sum((0, 1)) + self.attn_biases[:layer].sum(0)
        return self.embed + attended + self.mlps[:layer].sum(0)

    def between(self, layer: int) -> _Stream:
        """The residual between attention and MLP of a block."""
        return self.before(layer) + self.heads[layer].sum(0) + self.attn_biases[layer]


@dataclass(frozen=True, slots=True)
class LogitReader:
    """A logit read from the residual: direction · residual + bias."""

    direction: Float[Tensor, " d_model"]
    bias: Float[Tensor, ""]


@dataclass(frozen=True, slots=True, repr=False)
class Frozen:
    """One prompt's run, as an affine map."""

    prompt: Prompt
    anatomy: Anatomy
    weights: Weights
    layers: tuple[FrozenLayer, ...]
    final_norm_scale: _Scale
    logit_slope: Float[Tensor, "pos d_vocab"] | None
    """Soft-capped over uncapped logit; None where nothing is capped."""
    embed: _Stream
    residuals: Float[Tensor, "layer_and_end pos d_model"]
    """The clean `resid_pre` of every block, and after them the last `resid_post`."""
    read_by_mlps: Float[Tensor, "layer pos d_model"]
    """The clean residual that every block's MLP reads, before its norm."""
    mlps: tuple[_Stream, ...]
    """What every block's MLP wrote in the clean run."""

    def __repr__(self) -> str:
        return f"<Frozen: {len(self.layers)} layers of {self.anatomy.family} on {len(self.prompt.ids)} tokens>"

    def attend(self, layer: int, x: _Stream) -> Float[Tensor, "head pos d_model"]:
        """What each head writes for a residual x: linear, biases left out."""
        block, held = self.weights.blocks[layer], self.layers[layer]
        return self._write(layer, self._values(layer, _scaled(block.attn_norm, held.attn_norm_scale, x), bias=False))

    def attend_own(self, layer: int, position: int, x: Float[Tensor, "part d_model"]) -> Float[Tensor, "part d_model"]:
        """What vectors at one position add to that same position through attention: linear, biases left out."""
        a, block, held = self.anatomy, self.weights.blocks[layer], self.layers[layer]
        own, behind = slice(position, position + 1), held.attn_post_norm_scale
        scale = None if held.attn_norm_scale is None else held.attn_norm_scale[own]
        values = (_scaled(block.attn_norm, scale, x) @ block.attn.v.weight.T).view(-1, a.n_kv_heads, 1, a.d_head)
        looks = held.pattern[:, position, position].view(a.n_kv_heads, a.group, 1)
        written = (values * looks).flatten(1) @ block.attn.o.weight.T
        return _scaled(block.attn_post_norm, None if behind is None else behind[own], written)

    def attend_bias(self, layer: int) -> Float[Tensor, "head pos d_model"]:
        """What each head writes whatever it reads: the biases of its norm and its values, carried by its pattern."""
        block = self.weights.blocks[layer]
        constant = _shifted(block.attn_norm, torch.zeros_like(self.embed))
        return self._write(layer, self._values(layer, constant, bias=True))

    def attn_bias(self, layer: int) -> _Stream:
        """The output bias of a block's attention, which belongs to no head."""
        block, held = self.weights.blocks[layer], self.layers[layer]
        bias = block.attn.o.bias
        if bias is None:
            return torch.zeros_like(self.embed)
        return _scaled(block.attn_post_norm, held.attn_post_norm_scale, bias.expand_as(self.embed))

    def mlp_read(self, layer: int, x: _Stream) -> _Stream:
        """What the MLP reads of a residual x, through its held norm: linear, the norm's bias left out."""
        return _scaled(self.weights.blocks[layer].mlp_norm, self.layers[layer].mlp_norm_scale, x)

    def transform(self, layer: int, x: _Stream) -> _Stream:
        """What the MLP writes for a residual x with its nonlinear factors held: linear, biases left out."""
        block, held = self.weights.blocks[layer], self.layers[layer]
        out = (held.slope * (self.mlp_read(layer, x) @ block.mlp.up.weight.T)) @ block.mlp.down.weight.T
        return _scaled(block.mlp_post_norm, held.mlp_post_norm_scale, out)

    def transform_bias(self, layer: int) -> _Stream:
        """What the MLP writes whatever it reads."""
        block, held = self.weights.blocks[layer], self.layers[layer]
        constant = _shifted(block.mlp_norm, torch.zeros_like(self.embed))
        out = block.mlp.down(held.slope * block.mlp.up(constant))
        return _scaled(block.mlp_post_norm, held.mlp_post_norm_scale, out)

    def unembed(self, x: _Stream) -> Float[Tensor, "pos d_vocab"]:
        """Logits for a residual x through the held final norm and soft-cap: linear, biases left out."""
        logits = _scaled(self.weights.final_norm, self.final_norm_scale, x) @ self.weights.unembed.weight.T
        return logits if self.logit_slope is None else logits * self.logit_slope

    def unembed_bias(self) -> Float[Tensor, "pos d_vocab"]:
        """The logits of a residual of zero."""
        bias = self.weights.final_norm.bias
        constant = torch.zeros_like(self.embed) if bias is None else bias.expand_as(self.embed)
        logits = self.weights.unembed(constant)
        return logits if self.logit_slope is None else logits * self.logit_slope

    def heads(self, layer: int, rows: slice = _ALL) -> Float[Tensor, "head row d_model"]:
        """What each head wrote in the clean run, at some or all positions."""
        block, held = self.weights.blocks[layer], self.layers[layer]
        x = _shifted(block.attn_norm, _scaled(block.attn_norm, held.attn_norm_scale, self.residuals[layer]))
        return self._write(layer, self._values(layer, x, rows, bias=True), rows)

    def moved(self, layer: int) -> Float[Tensor, "head query key"]:
        """How long what each head brought from each key to each query of the clean run is."""
        a, block, held = self.anatomy, self.weights.blocks[layer], self.layers[layer]
        x = _shifted(block.attn_norm, _scaled(block.attn_norm, held.attn_norm_scale, self.residuals[layer]))
        values = block.attn.v(x).view(-1, a.n_kv_heads, a.d_head).repeat_interleave(a.group, 1)
        out = block.attn.o.weight.reshape(-1, a.n_heads, a.d_head)
        ones, behind = torch.ones_like(self.embed[:1, :1]), held.attn_post_norm_scale
        written = _scaled(
            block.attn_post_norm, None if behind is None else ones, torch.einsum("khc,dhc->hkd", values, out)
        )
        lengths = held.pattern * written.square().sum(-1).sqrt()[:, None]
        return lengths if behind is None else lengths / behind

    def mlp(self, layer: int, rows: slice = _ALL) -> Float[Tensor, "row d_model"]:
        """What the MLP wrote in the clean run, at some or all positions."""
        return self.mlps[layer][rows]

    def neurons(self, layer: int, position: int) -> Float[Tensor, "neuron d_model"]:
        """What each neuron wrote at one position of the clean run; the MLP's output bias is not among them."""
        block, held = self.weights.blocks[layer], self.layers[layer]
        activation = held.slope[position] * block.mlp.up(self.mlp_in(layer)[position])
        written = activation[:, None] * self.behind_mlp(layer, block.mlp.down.weight.T)
        if held.mlp_post_norm_scale is None:
            return written
        return (written / held.mlp_post_norm_scale[position]).to(written.dtype)

    def mlp_in(self, layer: int) -> _Stream:
        """The normalised input of the MLP in the clean run."""
        block, held = self.weights.blocks[layer], self.layers[layer]
        return _shifted(block.mlp_norm, _scaled(block.mlp_norm, held.mlp_norm_scale, self.read_by_mlps[layer]))

    def behind_mlp(self, layer: int, rows: Float[Tensor, "part d_model"]) -> Float[Tensor, "part d_model"]:
        """Vectors of the MLP's output through its post-norm, up to the division by the held scale."""
        norm = self.weights.blocks[layer].mlp_post_norm
        if norm is None:
            return rows
        return ((rows - rows.mean(-1, keepdim=True) if norm.centred else rows) * norm.gain).to(rows.dtype)

    def mlp_constant(self, layer: int) -> _Stream:
        """What the MLP's output bias adds to the residual stream."""
        bias, held = self.weights.blocks[layer].mlp.down.bias, self.layers[layer]
        if bias is None:
            return torch.zeros_like(self.embed)
        constant = self.behind_mlp(layer, bias.expand_as(self.embed))
        if held.mlp_post_norm_scale is None:
            return constant
        return (constant / held.mlp_post_norm_scale).to(constant.dtype)

    def parts(self) -> Parts:
        """The clean run, taken apart: embedding, each head, each attention bias, each MLP."""
        layers = range(self.anatomy.n_layers)
        return Parts(
            embed=self.embed,
            heads=torch.stack([self.heads(layer) for layer in layers]),
            attn_biases=torch.stack([self.attn_bias(layer) for layer in layers]),
            mlps=torch.stack([self.mlp(layer) for layer in layers]),
        )

    def promotes(self, x: Float[Tensor, "part d_model"], position: int) -> Float[Tensor, "part d_vocab"]:
        """What each vector, written at a position, adds to the logits there through the held final norm."""
        logits = _scaled(self.weights.final_norm, self.final_norm_scale[position], x) @ self.weights.unembed.weight.T
        return logits if self.logit_slope is None else logits * self.logit_slope[position]

    def logit_reader(self, position: int, token: TokenId, against: TokenId | None = None) -> LogitReader:
        """The affine reading of a logit, or of a difference of two, from the last residual at a position."""
        wanted = [(token, 1.0)] if against is None else [(token, 1.0), (against, -1.0)]
        norm, unembed = self.weights.final_norm, self.weights.unembed
        direction, bias = torch.zeros_like(unembed.weight[0]), torch.zeros_like(unembed.weight[0, 0])
        for one, sign in wanted:
            weight = sign if self.logit_slope is None else sign * self.logit_slope[position, one]
            direction = direction + weight * unembed.weight[one]
            bias = bias if unembed.bias is None else bias + weight * unembed.bias[one]
        bias = bias if norm.bias is None else bias + direction @ norm.bias
        read = direction * norm.gain / self.final_norm_scale[position]
        return LogitReader((read - read.mean() if norm.centred else read).to(direction.dtype), bias)

    def _values(self, layer: int, x: _Stream, rows: slice = _ALL, *, bias: bool) -> Float[Tensor, "head row d_head"]:
        """Each query head's mixed values for a normalised input."""
        a, v = self.anatomy, self.weights.blocks[layer].attn.v
        values = v(x) if bias else x @ v.weight.T
        pattern = self.layers[layer].pattern[:, rows]
        grouped = pattern.view(a.n_kv_heads, a.group, *pattern.shape[1:])
        by_head = values.view(-1, a.n_kv_heads, a.d_head)
        return torch.einsum("ngqk,knd->ngqd", grouped, by_head).flatten(0, 1)

    def _write(
        self, layer: int, z: Float[Tensor, "head row d_head"], rows: slice = _ALL
    ) -> Float[Tensor, "head row d_model"]:
        """Through the output matrix and, where there is one, the held norm behind it."""
        block, scale = self.weights.blocks[layer], self.layers[layer].attn_post_norm_scale
        out = block.attn.o.weight.reshape(-1, self.anatomy.n_heads, self.anatomy.d_head)
        written = torch.einsum("hpc,dhc->hpd", z, out)
        return _scaled(block.attn_post_norm, None if scale is None else scale[rows], written)


def _shifted(norm: NormWeights | None, x: Tensor) -> Tensor:
    """Plus the norm's bias, where it has one."""
    return x if norm is None or norm.bias is None else x + norm.bias


def _scaled(norm: NormWeights | None, scale: Tensor | None, x: Tensor) -> Tensor:
    """A norm with its scale held: centre, divide, multiply by the gain. No norm changes nothing."""
    if norm is None or scale is None:
        return x
    centred = x - x.mean(-1, keepdim=True) if norm.centred else x
    return (centred / scale * norm.gain).to(x.dtype)


def freeze(model: Model, prompt: str | Prompt) -> Frozen:
    """Run the model once and keep what its nonlinear parts came to."""
    a = model.anatomy
    has = points_of(a)
    read = [point for point in (*_PINNED, *_LOOKED_AT) if point in has]
    last = Site(Point.RESID_POST, Layer(a.n_layers - 1))
    embeds = [point for point in (Point.EMBED, Point.POS_EMBED) if point in has]
    behind = [Point.FINAL_NORM_SCALE] if a.logit_cap is None else [Point.FINAL_NORM_SCALE, Point.FINAL_NORM_OUT]
    if model.attached_edits:
        raise CallError(
            "The frozen map is of the model as it is, and edits are attached. Freeze outside the `with` block."
        )
    run = model.run(
        model.prompt(prompt), read=[*read, *embeds, last, *behind], logits="none" if a.logit_cap is None else "all"
    )
    residuals = torch.cat([run.stack(Point.RESID_PRE)[:, 0], run[last]])
    return Frozen(
        prompt=run.prompts[0],
        anatomy=a,
        weights=model.weights,
        layers=tuple(_held(run, a, Layer(layer)) for layer in range(a.n_layers)),
        final_norm_scale=run["final_norm_scale"][0],
        logit_slope=_logit_slope(run, model),
        embed=sum((run[Site(point)][0] for point in embeds[1:]), run[Site(embeds[0])][0]),
        residuals=residuals,
        read_by_mlps=residuals[:-1] if a.parallel else run.stack(Point.RESID_MID)[:, 0],
        mlps=tuple(run[Site(Point.MLP_OUT, Layer(layer))][0] for layer in range(a.n_layers)),
    )


def _held(run: Run, a: Anatomy, layer: Layer) -> FrozenLayer:
    def one(point: Point) -> Tensor | None:
        return run.acts[site][0] if (site := Site(point, layer)) in run.acts else None

    up = run[Site(Point.UP, layer)][0]
    if a.gated:
        slope = activate(a.activation, run[Site(Point.GATE, layer)][0])
    else:
        slope = torch.where(up == 0, torch.zeros_like(up), activate(a.activation, up) / up)
    return FrozenLayer(
        pattern=run[Site(Point.PATTERN, layer)][0],
        attn_norm_scale=one(Point.ATTN_NORM_SCALE),
        attn_post_norm_scale=one(Point.ATTN_POST_NORM_SCALE),
        mlp_norm_scale=one(Point.MLP_NORM_SCALE),
        mlp_post_norm_scale=one(Point.MLP_POST_NORM_SCALE),
        slope=slope,
    )


def _logit_slope(run: Run, model: Model) -> Float[Tensor, "pos d_vocab"] | None:
    """Capped over uncapped logit: c·tanh(x/c) / x."""
    cap = model.anatomy.logit_cap
    if cap is None:
        return None
    uncapped = model.weights.unembed(run["final_norm_out"][0])
    return torch.where(uncapped == 0, torch.ones_like(uncapped), run.logits[0] / uncapped)
