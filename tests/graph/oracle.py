"""The frozen model written out forwards, every source with a dial of 1, so that autograd says what each edge is.

Nothing here is shared with the engine: the map goes through `Frozen`'s own forward methods.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from micrographia.bases.basis import Decomposition
from micrographia.bases.neurons import Neurons
from micrographia.bases.transcoder import CrossLayer, PerLayer
from micrographia.ids import Layer
from micrographia.model.model import Model
from tests.bases.test_bases import RULES, cross_layer, per_layer
from tests.model.families import ids_for

__all__ = ["BASES", "Dials", "basis_for", "dialled", "everything", "jacobian", "prompt"]

BASES = ("neurons", "frozen-gate", "per-layer", "skip", "cross-layer", "gaps")


def prompt(model: Model, n: int = 9):
    return model.tokenizer.from_ids(ids_for(1, n)[0].tolist())


def basis_for(name: str, model: Model):
    match name:
        case "neurons":
            return Neurons()
        case "frozen-gate":
            return Neurons("frozen-gate")
        case "per-layer":
            return per_layer(model, RULES["topk"])
        case "skip":
            return per_layer(model, RULES["jumprelu"], skip=True)
        case "cross-layer":
            return cross_layer(model, RULES["topk"])
        case "gaps":
            whole = per_layer(model, RULES["jumprelu"], skip=True)
            return PerLayer({layer: whole.layers[layer] for layer in (Layer(0), Layer(2))})
        case _:
            crossed = cross_layer(model, RULES["topk"])
            keep = [Layer(0), Layer(2)]
            return CrossLayer(
                {layer: crossed.encoders[layer] for layer in keep},
                {layer: crossed.decoders[layer] for layer in keep},
                crossed.biases,
            )


@dataclass
class Dials:
    """One number for each source; all are 1 on the clean run."""

    features: list[Tensor]
    errors: Tensor
    tokens: Tensor
    bias: Tensor

    @staticmethod
    def clean(found: Decomposition) -> "Dials":
        n_positions = len(found.frozen.embed)
        ones = found.frozen.embed.new_ones
        return Dials(
            [ones(len(one.feature)) for one in found.layers],
            ones(len(found.layers), n_positions),
            ones(n_positions),
            ones(1),
        )

    def flat(self) -> Tensor:
        return torch.cat([*self.features, self.errors.flatten(), self.tokens, self.bias])

    def like(self, flat: Tensor) -> "Dials":
        sizes = [len(one) for one in self.features]
        *features, errors, tokens, bias = flat.split([*sizes, self.errors.numel(), len(self.tokens), 1])
        return Dials(features, errors.view_as(self.errors), tokens, bias)


def normed(norm, scale, x: Tensor, bias: Tensor) -> Tensor:
    if norm is None:
        return x
    centred = x - x.mean(-1, keepdim=True) if norm.centred else x
    out = centred / scale * norm.gain
    return out if norm.bias is None else out + bias * norm.bias


def dialled(found: Decomposition, dials: Dials) -> tuple[list[Tensor], list[Tensor]]:
    """Each layer's pre-activations, and the residual before each block and after the last."""
    frozen = found.frozen
    x = frozen.embed * dials.tokens[:, None]
    residuals, pres = [x], []
    for layer, features in enumerate(found.layers):
        weights, held = frozen.weights.blocks[layer], frozen.layers[layer]
        constant = frozen.attend_bias(layer).sum(0) + frozen.attn_bias(layer)
        middle = x + frozen.attend(layer, x).sum(0) + dials.bias * constant
        read = normed(weights.mlp_norm, held.mlp_norm_scale, x if frozen.anatomy.parallel else middle, dials.bias)
        pres.append((features.read_vectors() * read[features.position]).sum(-1) + dials.bias * features.read_bias)
        out = dials.bias * features.constant
        if features.error is not None:
            out = out + dials.errors[layer][:, None] * features.error
        if features.skip is not None:
            out = out + read @ features.skip.T
        for source, turned in zip(found.layers[: layer + 1], dials.features, strict=False):
            if features.layer in source.writes:
                vectors = (turned * source.activation)[:, None] * source.write_vectors(features.layer)
                out = out.index_add(0, source.position, vectors)
        x = middle + out
        residuals.append(x)
    return pres, residuals


def everything(found: Decomposition, dials: Dials) -> Tensor:
    """All pre-activations, then the logits at the last position."""
    pres, residuals = dialled(found, dials)
    frozen = found.frozen
    logits = (frozen.unembed(residuals[-1]) + dials.bias * frozen.unembed_bias())[-1]
    return torch.cat([*pres, logits])


def jacobian(found: Decomposition) -> Tensor:
    """[features and logits, sources] in canonical order, by autograd."""
    clean = Dials.clean(found)
    return torch.func.jacrev(lambda flat: everything(found, clean.like(flat)), chunk_size=256)(clean.flat())
