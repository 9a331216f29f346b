"""A fingerprint stays with the basis, whatever its dtype, and with no other."""

import pytest
import torch

from micrographia.atlas.fingerprint import basis_fingerprint, feature_basis
from micrographia.bases.activation import JumpRelu
from micrographia.bases.basis import Decomposition
from micrographia.bases.neurons import Neurons
from micrographia.bases.transcoder import Encoder, PerLayer, TranscoderLayer
from micrographia.errors import UnsupportedError
from micrographia.model.frozen import Frozen
from micrographia.model.model import Model
from tests.bases.evaluation.bases import cross_layer, per_layer


def in_dtype(basis: PerLayer, dtype: torch.dtype) -> PerLayer:
    return PerLayer(
        {
            i: TranscoderLayer(
                Encoder(
                    its.encoder.weight.to(dtype),
                    its.encoder.bias.to(dtype),
                    JumpRelu(its.encoder.rule.threshold.to(dtype)),
                ),
                its.decoder.to(dtype),
                its.bias.to(dtype),
            )
            for i, its in basis.layers.items()
        }
    )


def test_it_does_not_depend_on_the_dtype(llama: Model) -> None:
    basis = in_dtype(per_layer(llama, "jumprelu"), torch.float32)
    found = {
        basis_fingerprint(in_dtype(basis, d), llama.weights) for d in (torch.float64, torch.float32, torch.bfloat16)
    }
    assert len(found) == 1


def test_others_have_others(llama: Model, tiny) -> None:
    bases = [
        per_layer(llama, "jumprelu"),
        per_layer(llama, "jumprelu", seed=1),
        per_layer(llama, "jumprelu", layers=(0, 1)),
        cross_layer(llama),
        Neurons(),
    ]
    assert len({basis_fingerprint(basis, llama.weights) for basis in bases}) == len(bases)
    assert basis_fingerprint(Neurons("frozen-gate"), llama.weights) == basis_fingerprint(Neurons(), llama.weights)
    other = tiny("qwen3")
    assert basis_fingerprint(Neurons(), other.weights) != basis_fingerprint(Neurons(), llama.weights)


def test_a_basis_of_another_kind_is_refused() -> None:
    class Odd:
        def decompose(self, frozen: Frozen, /) -> Decomposition:
            raise AssertionError("not asked")

    with pytest.raises(UnsupportedError, match="neurons or transcoders; this basis is a Odd"):
        feature_basis(Odd())
