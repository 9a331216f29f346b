"""A basis taken apart into the tensors that files are made of: each layer's, by the role they play."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from micrographia.bases.activation import ActivationRule, JumpRelu, Relu
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.lazily import Lazily, changed
from micrographia.bases.transcoder import CrossLayer, Encoder, PerLayer, TranscoderLayer
from micrographia.errors import ModelFileError
from micrographia.ids import Layer

__all__ = ["AXES", "BasisFile", "Kind", "LayerParts", "Parts", "Role", "finite"]

Role: TypeAlias = Literal["encoder", "encoder_bias", "threshold", "decoder", "decoders", "bias", "skip"]
Parts: TypeAlias = Mapping[str, Tensor]
"""The tensors of one layer by their roles."""
Kind: TypeAlias = Literal["per-layer", "cross-layer"]

AXES: Mapping[str, tuple[str, ...]] = {
    "encoder": ("feature", "d_model"),
    "encoder_bias": ("feature",),
    "threshold": ("feature",),
    "decoder": ("feature", "d_model"),
    "decoders": ("to", "feature", "d_model"),
    "bias": ("d_model",),
    "skip": ("d_out", "d_in"),
}
"""The axes of every role here; a tool that orders them otherwise says so in its table."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerParts:
    """One layer: its tensors, taken when asked for, and its rule; the thresholds of JumpReLU are a tensor."""

    parts: Parts
    rule: ActivationRule

    def activation_rule(self) -> ActivationRule:
        return JumpRelu(self.parts["threshold"]) if "threshold" in self.parts else self.rule

    def changed(self, change: Callable[[str, Tensor], Tensor]) -> "LayerParts":
        """The same layer, each tensor changed when it is taken."""
        return replace(self, parts=changed(self.parts, change))

    def with_parts(self, more: Mapping[str, Callable[[], Tensor]]) -> "LayerParts":
        """The same layer with some tensors added or put in the place of others."""
        kept: dict[str, Callable[[], Tensor]] = {role: lambda role=role: self.parts[role] for role in self.parts}
        return replace(self, parts=Lazily(kept | dict(more)))

    def without(self, role: str) -> "LayerParts":
        """The same layer, one of its tensors left out."""
        kept: dict[str, Callable[[], Tensor]] = {
            its: lambda its=its: self.parts[its] for its in self.parts if its != role
        }
        return replace(self, parts=Lazily(kept))


@final
@dataclass(frozen=True, slots=True, eq=False)
class BasisFile:
    """A basis and all that must be known about it. Its tensors are read from the disk when they are used.

    A cross-layer basis may have layers with nothing but an output bias.
    """

    kind: Kind
    layers: Mapping[Layer, LayerParts]
    facts: BasisFacts

    @staticmethod
    def of(basis: PerLayer | CrossLayer, facts: BasisFacts) -> "BasisFile":
        """A basis in memory, with what must be known about it."""
        if isinstance(basis, CrossLayer):
            layers = sorted({*basis.encoders, *basis.biases})
            found = BasisFile("cross-layer", {layer: _crossing(basis, layer) for layer in layers}, facts)
        else:
            found = BasisFile("per-layer", {layer: _single(basis, layer) for layer in sorted(basis.layers)}, facts)
        return replace(found, facts=facts.model_copy(update={"skip": "in-output" if found.skipping else "none"}))

    def basis(self, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> PerLayer | CrossLayer:
        """The basis, each layer's tensors taken from the disk anew whenever the layer is used."""
        there = {layer: each.changed(lambda _, part: part.to(device, dtype)) for layer, each in self.layers.items()}
        if self.kind == "per-layer":
            return PerLayer(changed(there, lambda _, each: _transcoder(each)))
        coding = {layer: each for layer, each in there.items() if "encoder" in each.parts}
        biased = {layer: each for layer, each in there.items() if "bias" in each.parts}
        skipping = {layer: there[layer] for layer in self.skipping}
        return CrossLayer(
            changed(coding, lambda _, each: _encoder(each)),
            changed(coding, lambda _, each: each.parts["decoders"]),
            changed(biased, lambda _, each: each.parts["bias"]),
            changed(skipping, lambda _, each: each.parts["skip"]),
        )

    @property
    def coding(self) -> tuple[Layer, ...]:
        """The layers that have features."""
        return tuple(sorted(layer for layer, each in self.layers.items() if "encoder" in each.parts))

    @property
    def skipping(self) -> tuple[Layer, ...]:
        """The layers that have a skip path."""
        return tuple(layer for layer, each in self.layers.items() if "skip" in each.parts)

    @property
    def d_model(self) -> int:
        parts = self.layers[self.coding[0]].parts
        return parts["bias" if "bias" in parts else "encoder"].shape[-1]

    def n_features(self, layer: Layer) -> int:
        return self.layers[layer].parts["encoder_bias"].shape[0]


def finite(tensor: Tensor, where: str) -> Tensor:
    """The tensor, or a sentence about what in it is no number."""
    if not tensor.isfinite().all():
        bad = int((~tensor.isfinite()).sum())
        raise ModelFileError(f"{where} holds {bad} of {tensor.numel()} values that are NaN or infinite.")
    return tensor


def _encoder(layer: LayerParts) -> Encoder:
    return Encoder(layer.parts["encoder"], layer.parts["encoder_bias"], layer.activation_rule())


def _transcoder(layer: LayerParts) -> TranscoderLayer:
    skip = layer.parts.get("skip")
    return TranscoderLayer(_encoder(layer), layer.parts["decoder"], layer.parts["bias"], skip)


def _of_encoder(encoder: Encoder) -> dict[str, Tensor]:
    parts: dict[str, Tensor] = {"encoder": encoder.weight, "encoder_bias": encoder.bias}
    return parts | {"threshold": encoder.rule.threshold} if isinstance(encoder.rule, JumpRelu) else parts


def _single(basis: PerLayer, layer: Layer) -> LayerParts:
    mine = basis.layers[layer]
    parts: dict[str, Tensor] = {**_of_encoder(mine.encoder), "decoder": mine.decoder, "bias": mine.bias}
    return LayerParts(parts if mine.skip is None else parts | {"skip": mine.skip}, _plain(mine.encoder.rule))


def _crossing(basis: CrossLayer, layer: Layer) -> LayerParts:
    bias: dict[str, Tensor] = {"bias": basis.biases[layer]} if layer in basis.biases else {}
    if layer not in basis.encoders:
        return LayerParts(bias, Relu())
    encoder = basis.encoders[layer]
    skip: dict[str, Tensor] = {"skip": basis.skips[layer]} if layer in basis.skips else {}
    parts = _of_encoder(encoder) | {"decoders": basis.decoders[layer]} | bias | skip
    return LayerParts(parts, _plain(encoder.rule))


def _plain(rule: ActivationRule) -> ActivationRule:
    """A rule without tensors, which lie among the parts."""
    return Relu() if isinstance(rule, JumpRelu) else rule
