"""What is done to a basis so that a tool can hold it: exactly where that is possible, with a line where it is not."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from micrographia.bases.activation import BatchTopK, Relu, TopK
from micrographia.bases.formats.format import Fitted
from micrographia.bases.formats.parts import AXES, BasisFile, LayerParts
from micrographia.ids import Layer

__all__ = ["all_layers", "fitted", "one_width", "thresholds", "unbiased_input", "without_topk"]


def fitted(file: BasisFile, *steps: Callable[[BasisFile], Fitted]) -> Fitted:
    """One step after the other, and all that they lost."""
    lost: tuple[str, ...] = ()
    for step in steps:
        result = step(file)
        file, lost = result.file, lost + result.lost
    return Fitted(file, lost)


def unbiased_input(
    encoder: Callable[[], Tensor], bias: Callable[[], Tensor], subtracted: Callable[[], Tensor]
) -> Callable[[], Tensor]:
    """The bias of an encoder that reads x itself and computes what one did that read x − subtracted."""
    return lambda: (bias().double() - encoder().double() @ subtracted().double()).to(bias().dtype)


def thresholds(file: BasisFile) -> Fitted:
    """BatchTopK as the JumpReLU that it is when read out, and thresholds below zero as the zero that they act as."""
    layers = dict(file.layers)
    for layer, each in layers.items():
        match each.rule:
            case BatchTopK(_, threshold):
                layers[layer] = replace(
                    each.with_parts({"threshold": _constant(each, max(threshold, 0.0))}), rule=Relu()
                )
            case _ if "threshold" in each.parts:
                layers[layer] = each.changed(lambda role, part: part.clamp(min=0.0) if role == "threshold" else part)
            case _:
                pass
    return Fitted(replace(file, layers=layers))


def without_topk(file: BasisFile) -> Fitted:
    """TopK as ReLU: every positive feature stays active, not only the largest."""
    layers, ks = dict(file.layers), set[int]()
    for layer, each in layers.items():
        if isinstance(each.rule, TopK):
            if each.rule.k < file.n_features(layer):
                ks.add(each.rule.k)
            layers[layer] = replace(each, rule=Relu())
    if not ks:
        return Fitted(replace(file, layers=layers))
    which = ", ".join(map(str, sorted(ks)))
    line = f"TopK (k = {which}) becomes ReLU: every positive feature stays active, so activations and outputs change"
    return Fitted(replace(file, layers=layers), (line,))


def all_layers(file: BasisFile) -> Fitted:
    """Every layer from 0 up: where one has no features, as many that never fire."""
    last = max(max(file.layers) + 1, file.facts.model_layers or 0, *map(partial(_reach, file), file.coding))
    missing = [layer for layer in map(Layer, range(last)) if layer not in file.coding]
    if not missing:
        return Fitted(file)
    d_model, n_features = file.d_model, file.n_features(file.coding[0])
    layers = dict(file.layers)
    for layer in missing:
        there = layers.get(layer, LayerParts({}, Relu()))
        layers[layer] = there.with_parts(
            _nothing(file, layer, last, n_features, d_model, has_bias="bias" in there.parts)
        )
    names = ", ".join(map(str, missing))
    line = f"that layers {names} have no features cannot be said: they get {n_features} features that never fire"
    return Fitted(replace(file, layers=dict(sorted(layers.items()))), (line,))


def one_width(file: BasisFile) -> Fitted:
    """The same number of features in every layer: the narrower ones get some that never fire."""
    widths = {layer: file.n_features(layer) for layer in file.coding}
    widest = max(widths.values())
    narrow = {layer: widest - width for layer, width in widths.items() if width < widest}
    if not narrow:
        return Fitted(file)
    layers = {
        layer: each.changed(lambda role, part, more=narrow[layer]: _widened(role, part, more))
        if layer in narrow
        else each
        for layer, each in file.layers.items()
    }
    names = ", ".join(map(str, narrow))
    line = f"layers {names} have fewer features than the others: they get some that never fire, to make {widest}"
    return Fitted(replace(file, layers=layers), (line,))


def _reach(file: BasisFile, layer: Layer) -> int:
    """The layer after the last one that a layer's features write to."""
    return layer + (1 if file.kind == "per-layer" else len(file.layers[layer].parts["decoders"]))


def _constant(layer: LayerParts, value: float) -> Callable[[], Tensor]:
    return lambda: torch.full_like(layer.parts["encoder_bias"], value)


def _nothing(
    file: BasisFile, layer: int, last: int, n_features: int, d_model: int, *, has_bias: bool
) -> Mapping[str, Callable[[], Tensor]]:
    """Zeros in the shape of a layer; an output bias that is there is kept."""
    sizes = {"feature": n_features, "d_model": d_model, "to": last - layer}
    decoder = "decoder" if file.kind == "per-layer" else "decoders"
    roles = ["encoder", "encoder_bias", decoder, *(["bias"] if not has_bias else [])]
    return {role: lambda role=role: torch.zeros([sizes[axis] for axis in AXES[role]]) for role in roles}


def _widened(role: str, part: Tensor, more: int) -> Tensor:
    """Rows of zeros behind the last feature; zero is not above any threshold, so they never fire."""
    if "feature" not in AXES[role]:
        return part
    behind = len(AXES[role]) - 1 - AXES[role].index("feature")
    return pad(part, (0, 0) * behind + (0, more))
