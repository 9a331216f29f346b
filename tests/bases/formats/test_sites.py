"""Our sites and other tools' hooks."""

import pytest

from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.sites import (
    INPUT_HOOKS,
    OUTPUT_HOOKS,
    block_and_hook,
    input_hook,
    module_layer,
    output_hook,
    site_of_hook,
)
from micrographia.errors import UnsupportedError
from micrographia.model.site import Point


def test_what_is_written_for_a_place_is_read_as_that_place() -> None:
    for site, norm in INPUT_HOOKS.values():
        hook = input_hook(BasisFacts(input_site=site, input_norm=norm))
        assert hook is not None
        assert site_of_hook(hook, INPUT_HOOKS, "x") == (site, norm)
    for site, _ in OUTPUT_HOOKS.values():
        hook = output_hook(BasisFacts(output_site=site))
        assert hook is not None
        assert site_of_hook(hook, OUTPUT_HOOKS, "x")[0] == site


def test_the_normalised_hook_lies_before_the_gain() -> None:
    assert INPUT_HOOKS["ln2.hook_normalized"] == (Point.MLP_IN, "before-gain")
    assert INPUT_HOOKS["mlp.hook_in"] == (Point.MLP_IN, "as-read")
    assert input_hook(BasisFacts(input_site=Point.RESID_MID, input_norm="before-gain")) is None
    assert output_hook(BasisFacts(output_site=Point.MLP_POST_NORM_IN)) is None


def test_an_unknown_hook_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnsupportedError, match=r"x says 'attn\.hook_z', and .* mlp\.hook_in, .*--input-site"):
        site_of_hook("attn.hook_z", INPUT_HOOKS, "x")


def test_layers_are_read_from_names() -> None:
    assert block_and_hook("blocks.12.mlp.hook_in") == (12, "mlp.hook_in")
    assert block_and_hook("mlp.hook_in") is None
    names = ("layers.5.mlp", "h.5.mlp", "model.layers.5.mlp", "5.mlp", "layers.5", "layers.5.mlp.act", "mlp")
    assert [module_layer(name) for name in names] == [5, 5, 5, 5, None, None, None]
