"""What is called exact computes the same; what is not says so."""

from dataclasses import replace

import pytest
import torch

from micrographia.bases.formats.convert import compare
from micrographia.bases.formats.fitting import (
    all_layers,
    fitted,
    one_width,
    thresholds,
    unbiased_input,
    without_topk,
)
from micrographia.bases.formats.parts import BasisFile
from micrographia.ids import Layer
from tests.bases.formats.samples import RULES, F, cross_layer, per_layer

FILES = {f"{kind}-{shape}": make(kind) for kind in RULES for shape, make in (("plt", per_layer), ("clt", cross_layer))}


@pytest.mark.parametrize("name", FILES)
def test_thresholds_change_no_activation(name: str) -> None:
    found = thresholds(FILES[name])
    assert found.lost == ()
    assert compare(FILES[name], found.file).equal
    holds = {"threshold" in each.parts for each in found.file.layers.values()}
    assert holds == {name.startswith(("jumprelu", "batchtopk"))}


def test_a_threshold_below_zero_becomes_the_zero_that_it_acts_as() -> None:
    file = per_layer("jumprelu")
    below = replace(
        file,
        layers={
            layer: each.changed(lambda role, part: part - 1 if role == "threshold" else part)
            for layer, each in file.layers.items()
        },
    )
    found = thresholds(below).file
    assert compare(below, found).equal
    assert all((each.parts["threshold"] >= 0).all() for each in found.layers.values())


@pytest.mark.parametrize("name", FILES)
def test_only_topk_is_lost_to_relu(name: str) -> None:
    found = without_topk(FILES[name])
    same = compare(FILES[name], found.file).equal
    assert (found.lost == (), same) == ((False, False) if name.startswith("topk") else (True, True))
    assert all(line.startswith("TopK (k = 3) becomes ReLU") for line in found.lost)


def test_topk_of_all_features_is_relu() -> None:
    found = without_topk(per_layer("topk", n=3))
    assert found.lost == ()
    assert compare(per_layer("topk", n=3), found.file).equal


def mixed(one: BasisFile, other: BasisFile) -> BasisFile:
    return replace(one, layers={**one.layers, Layer(1): other.layers[Layer(1)]})


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("make", [per_layer, cross_layer])
def test_features_that_never_fire_make_layers_equally_wide(kind: str, make) -> None:
    file = mixed(make(kind), make(kind, n=4))
    found = one_width(file)
    assert {found.file.n_features(layer) for layer in found.file.coding} == {F}
    assert compare(file, found.file).equal
    assert found.lost == (f"layers 1 have fewer features than the others: they get some that never fire, to make {F}",)
    assert one_width(make(kind)).lost == ()


@pytest.mark.parametrize("make", [per_layer, cross_layer])
def test_layers_without_features_get_some_that_never_fire(make) -> None:
    whole = make("jumprelu", model_layers=5)
    file = replace(whole, layers={layer: each for layer, each in whole.layers.items() if layer != 1})
    found = all_layers(file)
    assert found.file.coding == (0, 1, 2, 3, 4)
    assert compare(file, found.file).equal
    assert found.lost[0].startswith("that layers 1, 3, 4 have no features cannot be said")
    assert fitted(make("relu"), all_layers, one_width).lost == ()


def test_a_bias_that_was_subtracted_from_the_input_is_folded_exactly() -> None:
    weight, bias, subtracted = torch.randn(5, 3), torch.randn(5), torch.randn(3)
    folded = unbiased_input(lambda: weight, lambda: bias, lambda: subtracted)()
    x = torch.randn(7, 3)
    assert torch.allclose(x @ weight.T + folded, (x - subtracted) @ weight.T + bias, atol=1e-5)


def test_layers_that_are_only_written_to_are_layers_too() -> None:
    whole = cross_layer("relu", layers=4)
    bottom = replace(whole, layers={Layer(0): whole.layers[Layer(0)]})
    found = all_layers(bottom).file
    assert found.coding == (0, 1, 2, 3)
    assert compare(bottom, found).equal
