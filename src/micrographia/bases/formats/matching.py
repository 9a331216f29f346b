"""A basis from a file, brought to one model: what it says about itself must hold for the model."""

from dataclasses import replace

import torch
from torch import Tensor

from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.fitting import unbiased_input
from micrographia.bases.formats.parts import BasisFile, LayerParts
from micrographia.errors import UnsupportedError
from micrographia.model.anatomy import Anatomy
from micrographia.model.site import Point
from micrographia.model.weights import NormWeights, Weights

__all__ = ["check_sizes", "matched"]


def matched(file: BasisFile, anatomy: Anatomy, weights: Weights) -> BasisFile:
    """The basis as one of this model's MLPs, from `mlp_in` to `mlp_out`; a norm's gain is folded into the encoder."""
    _check(file, anatomy)
    facts = file.facts.model_copy(update={"input_norm": "as-read", "output_site": Point.MLP_OUT})
    if file.facts.input_norm == "as-read":
        return replace(file, facts=facts)
    layers = {layer: _behind_gain(each, weights.blocks[layer].mlp_norm) for layer, each in file.layers.items()}
    return BasisFile(file.kind, layers, facts)


def check_sizes(d_model: int, last: int, anatomy: Anatomy) -> None:
    """Refuse a basis of another width, or with a layer that the model does not have."""
    if d_model != anatomy.d_model or last >= anatomy.n_layers:
        raise UnsupportedError(
            f"The basis has {d_model} dimensions and layers up to {last}; "
            f"the model has {anatomy.d_model} dimensions and layers up to {anatomy.n_layers - 1}."
        )


def _check(file: BasisFile, anatomy: Anatomy) -> None:
    check_sizes(file.d_model, max(file.layers), anatomy)
    facts: BasisFacts = file.facts
    writes = facts.output_site == Point.MLP_OUT or (
        facts.output_site == Point.MLP_POST_NORM_IN and not anatomy.post_norm
    )
    if facts.input_site != Point.MLP_IN or not writes:
        raise UnsupportedError(
            f"The basis reads {facts.input_site} and writes {facts.output_site}; "
            "only a basis that reads mlp_in and writes mlp_out can stand in for this model's MLPs."
        )


def _behind_gain(layer: LayerParts, norm: NormWeights | None) -> LayerParts:
    """x = gain · u + bias, so what was read from u is read from x with rows divided by the gain."""
    if norm is None or "encoder" not in layer.parts:
        return layer
    if (norm.gain == 0).any():
        raise UnsupportedError(
            "A gain of the model's norm is zero: what the basis read before it cannot be read behind it."
        )

    def divided(rows: Tensor) -> Tensor:
        return (rows.double() / norm.gain.double().cpu()).to(rows.dtype)

    parts, shift = layer.parts, torch.zeros_like(norm.gain) if norm.bias is None else norm.bias
    unbiased = unbiased_input(lambda: divided(parts["encoder"]), lambda: parts["encoder_bias"], shift.cpu)
    found = layer.with_parts({"encoder": lambda: divided(parts["encoder"]), "encoder_bias": unbiased})
    if "skip" not in parts:
        return found
    bias = parts.get("bias", torch.zeros_like(shift))
    behind = unbiased_input(lambda: divided(parts["skip"]), lambda: bias, shift.cpu)
    return found.with_parts({"skip": lambda: divided(parts["skip"]), "bias": behind})
