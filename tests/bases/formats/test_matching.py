"""A basis from a file stands in for a model's MLPs only where it can, and then computes what it computed."""

from dataclasses import replace

import pytest
import torch

from micrographia.bases.formats.matching import matched
from micrographia.bases.formats.parts import BasisFile
from micrographia.bases.transcoder import PerLayer
from micrographia.errors import UnsupportedError
from micrographia.ids import Layer
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from micrographia.model.site import Point
from tests.bases.formats.samples import per_layer


def double(model: Model, **facts: object) -> BasisFile:
    file = per_layer("jumprelu", skip=True, d=model.anatomy.d_model, **facts)
    return replace(
        file, layers={layer: each.changed(lambda _, part: part.double()) for layer, each in file.layers.items()}
    )


def test_what_was_read_before_the_gain_is_read_behind_it(model: Model) -> None:
    file = double(model, input_norm="before-gain")
    found = matched(file, model.anatomy, model.weights)
    raw, folded = file.basis(torch.float64), found.basis(torch.float64)
    assert isinstance(raw, PerLayer)
    assert isinstance(folded, PerLayer)
    x = freeze(model, model.tokenizer.from_ids([3, 14, 15, 9])).mlp_in(1)
    norm = model.weights.blocks[1].mlp_norm
    before = x if norm is None else (x - (0 if norm.bias is None else norm.bias)) / norm.gain
    one, other = raw.layers[Layer(1)], folded.layers[Layer(1)]
    assert one.encoder(before).any()
    assert (one.encoder(before) - other.encoder(x)).abs().max() <= 1e-9
    assert (one(before) - other(x)).abs().max() <= 1e-9
    assert found.facts.input_norm == "as-read"


def test_what_does_not_fit_is_refused(tiny) -> None:
    model = tiny("gemma2")
    for file, said in (
        (per_layer(), r"has 6 dimensions and layers up to 2; the model has \d+ dimensions"),
        (double(model, input_site=Point.RESID_MID), "reads resid_mid and writes mlp_out"),
        (double(model, output_site=Point.MLP_POST_NORM_IN), "reads mlp_in and writes mlp_post_norm_in"),
    ):
        with pytest.raises(UnsupportedError, match=said):
            matched(file, model.anatomy, model.weights)
    plain = tiny("llama")
    file = double(plain, output_site=Point.MLP_POST_NORM_IN)
    assert matched(file, plain.anatomy, plain.weights).facts.output_site == Point.MLP_OUT
