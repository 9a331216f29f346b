"""A basis taken apart and put together again is the same."""

import pytest
import torch

from micrographia.bases.activation import JumpRelu
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.parts import BasisFile, finite
from micrographia.bases.transcoder import CrossLayer, PerLayer
from micrographia.errors import ModelFileError
from micrographia.ids import Layer
from tests.bases.formats.samples import RULES, D, F, cross_layer, per_layer


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("skip", [False, True])
def test_a_per_layer_basis_comes_back(kind: str, skip: bool) -> None:
    file = per_layer(kind, skip=skip, layers=(0, 2))
    basis = file.basis(torch.float64)
    assert isinstance(basis, PerLayer)
    assert file.facts.skip == ("in-output" if skip else "none")
    again = BasisFile.of(basis, file.facts)
    assert (again.coding, again.d_model, again.n_features(Layer(2))) == ((0, 2), D, F)
    for layer in (Layer(0), Layer(2)):
        assert again.layers[layer].parts.keys() == file.layers[layer].parts.keys()
        for role, part in file.layers[layer].parts.items():
            assert torch.equal(again.layers[layer].parts[role], part.double())
        rule = basis.layers[layer].encoder.rule
        assert isinstance(rule, JumpRelu) if kind == "jumprelu" else rule == file.layers[layer].rule


def test_a_cross_layer_basis_comes_back_with_layers_that_are_only_a_bias() -> None:
    whole = cross_layer("jumprelu").basis()
    assert isinstance(whole, CrossLayer)
    first = CrossLayer({Layer(0): whole.encoders[Layer(0)]}, {Layer(0): whole.decoders[Layer(0)]}, dict(whole.biases))
    file = BasisFile.of(first, BasisFacts())
    again = file.basis()
    assert isinstance(again, CrossLayer)
    assert (list(file.layers), file.coding, list(again.encoders), list(again.biases)) == (
        [0, 1, 2],
        (0,),
        [0],
        [0, 1, 2],
    )
    assert torch.equal(again.decoders[Layer(0)], first.decoders[Layer(0)])
    assert torch.equal(again.biases[Layer(2)], first.biases[Layer(2)])


def test_the_skip_paths_of_a_cross_layer_basis_come_back() -> None:
    file = cross_layer("topk", skip=True)
    assert (file.skipping, file.facts.skip) == ((0, 1, 2), "in-output")
    again = BasisFile.of(file.basis(torch.float64), BasisFacts())
    assert again.facts.skip == "in-output"
    for layer in file.layers:
        assert torch.equal(again.layers[layer].parts["skip"], file.layers[layer].parts["skip"].double())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_named(value: float) -> None:
    tensor = torch.zeros(4)
    assert finite(tensor, "x") is tensor
    tensor[1] = value
    with pytest.raises(ModelFileError, match="the lid holds 1 of 4 values that are NaN or infinite"):
        finite(tensor, "the lid")
