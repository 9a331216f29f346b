"""What a feature leaves at its own position, against the frozen model run again with the feature pushed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from micrographia.bases.basis import Decomposition
from micrographia.graph.carried import carried
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from tests.graph.oracle import BASES, basis_for, prompt
from tests.graph.test_promoted import some_features

EXACT = 1e-9


def remade(found: Decomposition, pushes: list[Tensor]) -> Tensor:
    """The last residual, every feature reading what the changed residual holds, and pushed besides."""
    frozen, x = found.frozen, found.frozen.embed
    active: list[Tensor] = []
    for number, one in enumerate(found.layers):
        attended = frozen.attend(number, x).sum(0) + frozen.attend_bias(number).sum(0) + frozen.attn_bias(number)
        read = x if frozen.anatomy.parallel else x + attended
        norm, scale = frozen.weights.blocks[number].mlp_norm, frozen.layers[number].mlp_norm_scale
        if norm is not None:
            read = (read - read.mean(-1, keepdim=True) if norm.centred else read) / scale * norm.gain
            read = read if norm.bias is None else read + norm.bias
        active.append((one.read_vectors() * read[one.position]).sum(1) + one.read_bias + pushes[number])
        x = x + attended + one.constant
        x = x if one.error is None else x + one.error
        x = x if one.skip is None else x + read @ one.skip.T
        for source, now in zip(found.layers, active, strict=False):
            if one.layer in source.writes:
                written = now[:, None] * source.write_vectors(one.layer)
                x = x.index_add(0, source.position, written)
    return x


@pytest.mark.parametrize("basis", BASES)
def test_it_is_what_a_push_changes_at_the_position_itself(model: Model, basis: str) -> None:
    found = basis_for(basis, model).decompose(freeze(model, prompt(model)))
    still = [torch.zeros_like(one.activation) for one in found.layers]
    clean = remade(found, still)
    assert (clean - found.frozen.residuals[-1]).abs().max() <= EXACT
    nodes = some_features(found, every=11)
    left = carried(found, nodes)
    for i in range(0, len(nodes), 3):
        layer = found.layers[nodes.layer[i]]
        row = int(((layer.position == nodes.position[i]) & (layer.feature == nodes.index[i])).nonzero()[0, 0])
        pushes = [each.clone() for each in still]
        pushes[nodes.layer[i]][row] = nodes.activation[i]
        change = remade(found, pushes)[nodes.position[i]] - clean[nodes.position[i]]
        assert (change - left[i]).abs().max() <= EXACT * max(1.0, float(change.abs().max()))


def test_a_feature_of_the_last_layer_leaves_what_it_writes(tiny) -> None:
    model = tiny("llama")
    found = basis_for("per-layer", model).decompose(freeze(model, prompt(model)))
    nodes = some_features(found)
    last = nodes.layer == len(found.layers) - 1
    layer = found.layers[-1]
    written = (layer.activation[:, None] * layer.write_vectors(layer.layer))[::7]
    torch.testing.assert_close(carried(found, nodes)[torch.from_numpy(last)], written)
    assert np.flatnonzero(last).size == len(written)


def test_no_features_leave_nothing(tiny) -> None:
    model = tiny("gpt2")
    found = basis_for("per-layer", model).decompose(freeze(model, prompt(model)))
    nodes = some_features(found)
    none = replace(nodes, **{name: getattr(nodes, name)[:0] for name in nodes.__slots__})
    assert carried(found, none).shape == (0, model.anatomy.d_model)
