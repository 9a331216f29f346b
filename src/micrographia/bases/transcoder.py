"""Transcoders: sparse features that stand in for MLPs.

One layer is an encoder that reads the MLP's normalised input, a rule that leaves few features active, a decoder that
writes the MLP's output, and perhaps an affine skip path beside it. A cross-layer transcoder has one decoder for each
layer from its own upwards; its skip paths, if it has any, lead from each layer's input to the same layer's output.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.activation import ActivationRule, JumpRelu, activated
from micrographia.bases.basis import Decomposition, LayerFeatures, ReadTerm, WriteTerm
from micrographia.errors import ModelFileError
from micrographia.ids import Layer
from micrographia.model.frozen import Frozen
from micrographia.model.products import linear

__all__ = ["CrossLayer", "Encoder", "PerLayer", "TranscoderLayer"]

_FEW = 20
"""Where fewer features than one in so many are active, their decoder rows are added up one by one."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """Normalised MLP input → activations."""

    weight: Float[Tensor, "feature d_model"]
    bias: Float[Tensor, " feature"]
    rule: ActivationRule

    def __post_init__(self) -> None:
        if isinstance(self.rule, JumpRelu) and self.rule.threshold.shape != self.bias.shape:
            raise ModelFileError(
                f"The thresholds have shape {tuple(self.rule.threshold.shape)} for {self.n_features} features."
            )
        if self.bias.shape != self.weight.shape[:1]:
            raise ModelFileError(
                f"The encoder's bias has shape {tuple(self.bias.shape)} for {self.n_features} features."
            )

    @property
    def n_features(self) -> int:
        return self.weight.shape[0]

    def __call__(self, x: Float[Tensor, "row d_model"]) -> Float[Tensor, "row feature"]:
        return activated(self.rule, linear(x, self.weight, self.bias))


@dataclass(frozen=True, slots=True, eq=False)
class TranscoderLayer:
    """A transcoder of one layer; `skip` maps the MLP's input straight to its output."""

    encoder: Encoder
    decoder: Float[Tensor, "feature d_model"]
    bias: Float[Tensor, " d_model"]
    skip: Float[Tensor, "d_model d_model"] | None = None

    def __post_init__(self) -> None:
        wanted = self.encoder.weight.shape
        if self.decoder.shape != wanted or self.bias.shape != wanted[1:]:
            raise ModelFileError(
                f"The encoder has shape {tuple(wanted)}, the decoder {tuple(self.decoder.shape)} and the output bias "
                f"{tuple(self.bias.shape)}: both matrices must be [feature d_model]."
            )
        if self.skip is not None:
            _check_skip(self.skip, wanted[1])

    def __call__(self, x: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        out = torch.addmm(self.bias, self.encoder(x), self.decoder)
        return out if self.skip is None else out + x @ self.skip.T


@final
@dataclass(frozen=True, slots=True, eq=False)
class PerLayer:
    """One transcoder per layer, with or without skip paths; a layer without one is all error."""

    layers: Mapping[Layer, TranscoderLayer]

    def decompose(self, frozen: Frozen, /) -> Decomposition:
        layers = range(frozen.anatomy.n_layers)
        return Decomposition(frozen, tuple(self._layer(frozen, Layer(layer)) for layer in layers))

    def _layer(self, frozen: Frozen, layer: Layer) -> LayerFeatures:
        if layer not in self.layers:
            return _uncovered(frozen, layer)
        mine, x = self.layers[layer], frozen.mlp_in(layer)
        acts = mine.encoder(x)
        rebuilt = _decoded(acts, mine.decoder) + mine.bias
        if mine.skip is not None:
            rebuilt = rebuilt + x @ mine.skip.T
        return _features(
            layer,
            acts,
            mine.encoder,
            writes={layer: WriteTerm(mine.decoder)},
            skip=mine.skip,
            constant=mine.bias.expand_as(x),
            error=frozen.mlp(layer) - rebuilt,
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class CrossLayer:
    """Features that read at one layer and write to that and all later ones.

    `decoders[l][i]` writes from layer l to layer l + i; `biases[l]` is the constant of output layer l, and `skips[l]`
    maps the MLP's input at layer l straight to its output. Shapes are checked when they are used: until then a layer
    may lie on the disk.
    """

    encoders: Mapping[Layer, Encoder]
    decoders: Mapping[Layer, Float[Tensor, "to feature d_model"]]
    biases: Mapping[Layer, Float[Tensor, " d_model"]]
    skips: Mapping[Layer, Float[Tensor, "d_model d_model"]] = field(default_factory=dict[Layer, Tensor])

    def __post_init__(self) -> None:
        if set(self.encoders) != set(self.decoders):
            raise ModelFileError("A cross-layer transcoder needs a decoder for each encoder, and no other.")
        if not set(self.skips) <= set(self.encoders):
            raise ModelFileError("A cross-layer transcoder has skip paths only at layers that have an encoder.")

    def decompose(self, frozen: Frozen, /) -> Decomposition:
        n_layers = frozen.anatomy.n_layers
        encoders, decoders, skips = dict(self.encoders), dict(self.decoders), dict(self.skips)
        for layer, encoder in encoders.items():
            _check_crossing(layer, encoder, decoders[layer], skips.get(layer))
        inputs = {layer: frozen.mlp_in(layer) for layer in encoders}
        acts = {layer: encoder(inputs[layer]) for layer, encoder in encoders.items()}
        layers: list[LayerFeatures] = []
        for layer in map(Layer, range(n_layers)):
            rebuilt = self._constant(frozen, layer)
            for source, active in acts.items():
                if source <= layer < source + len(decoders[source]):
                    rebuilt = rebuilt + _decoded(active, decoders[source][layer - source])
            skip = skips.get(layer)
            if skip is not None:
                rebuilt = rebuilt + inputs[layer] @ skip.T
            error = frozen.mlp(layer) - rebuilt
            if layer in encoders:
                reach = range(min(len(decoders[layer]), n_layers - layer))
                writes = {Layer(layer + i): WriteTerm(decoders[layer][i]) for i in reach}
                constant = self._constant(frozen, layer)
                layers.append(_features(layer, acts[layer], encoders[layer], writes, skip, constant, error))
            else:
                layers.append(_uncovered(frozen, layer, self._constant(frozen, layer), error))
        return Decomposition(frozen, tuple(layers))

    def _constant(self, frozen: Frozen, layer: Layer) -> Float[Tensor, "pos d_model"]:
        bias = self.biases.get(layer)
        return torch.zeros_like(frozen.embed) if bias is None else bias.expand_as(frozen.embed)


def _check_crossing(layer: Layer, encoder: Encoder, decoders: Tensor, skip: Tensor | None) -> None:
    if decoders.shape[1:] != encoder.weight.shape:
        raise ModelFileError(
            f"Layer {layer}: the encoder has shape {tuple(encoder.weight.shape)}, the decoders {tuple(decoders.shape)}."
        )
    if skip is not None:
        _check_skip(skip, encoder.weight.shape[1])


def _check_skip(skip: Tensor, d_model: int) -> None:
    if skip.shape != (d_model, d_model):
        raise ModelFileError(f"The skip path has shape {tuple(skip.shape)}; it must be [d_model d_model].")


def _decoded(
    acts: Float[Tensor, "pos feature"], decoder: Float[Tensor, "feature d_model"]
) -> Float[Tensor, "pos d_model"]:
    """acts @ decoder; of a large decoder only the rows of active features are read."""
    position, feature = acts.nonzero(as_tuple=True)
    if _FEW * len(feature) > acts.numel():
        return acts @ decoder
    count = torch.bincount(position, minlength=len(acts))
    return torch.nn.functional.embedding_bag(
        feature, decoder, count.cumsum(0) - count, mode="sum", per_sample_weights=acts[position, feature]
    )


def _features(
    layer: Layer,
    acts: Float[Tensor, "pos feature"],
    encoder: Encoder,
    writes: Mapping[Layer, WriteTerm],
    skip: Tensor | None,
    constant: Float[Tensor, "pos d_model"],
    error: Float[Tensor, "pos d_model"],
) -> LayerFeatures:
    position, feature = acts.nonzero(as_tuple=True)
    return LayerFeatures(
        layer=layer,
        position=position,
        feature=feature,
        activation=acts[position, feature],
        reads=(ReadTerm(encoder.weight),),
        read_bias=encoder.bias[feature],
        writes=writes,
        skip=skip,
        constant=constant,
        error=error,
    )


def _uncovered(
    frozen: Frozen, layer: Layer, constant: Tensor | None = None, error: Tensor | None = None
) -> LayerFeatures:
    """A layer that the basis leaves out: no feature, and what no other layer explains is error."""
    x = frozen.embed
    nothing = torch.empty(0, dtype=torch.long, device=x.device)
    no_values = torch.empty(0, dtype=x.dtype, device=x.device)
    return LayerFeatures(
        layer=layer,
        position=nothing,
        feature=nothing,
        activation=no_values,
        reads=(ReadTerm(x.new_empty(0, x.shape[-1])),),
        read_bias=no_values,
        writes={},
        skip=None,
        constant=torch.zeros_like(x) if constant is None else constant,
        error=frozen.mlp(layer) if error is None else error,
    )
