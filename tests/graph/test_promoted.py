"""What features promote: against the frozen model's own logits, on several families and every kind of basis."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from micrographia.bases.activation import Relu
from micrographia.bases.basis import Basis
from micrographia.bases.neurons import Neurons
from micrographia.graph.carried import carried
from micrographia.graph.graph import Graph
from micrographia.graph.promoted import directions, promoted
from micrographia.graph.tables import NodeTable
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from micrographia.model.readout import token_lengths
from tests.bases.test_bases import cross_layer, per_layer, prompt


def basis(kind: str, model: Model) -> Basis:
    makers = {"neurons": lambda m, _: Neurons(), "per-layer": per_layer, "cross-layer": cross_layer}
    return makers[kind](model, Relu())


def some_features(decomposition, every: int = 7) -> NodeTable:
    parts = [
        (layer.layer, layer.position[::every], layer.feature[::every], layer.activation[::every])
        for layer in decomposition.layers
    ]
    columns = [
        torch.cat([torch.full_like(position, number) for number, position, _, _ in parts]),
        *(torch.cat([part[i] for part in parts]) for i in (1, 2, 3)),
    ]
    layer, position, index, activation = (column.numpy() for column in columns)
    zeros = np.zeros(len(layer))
    return NodeTable(
        zeros.astype(np.uint8), layer, position, index, activation.astype(np.float64), zeros, zeros, zeros, zeros, zeros
    )


@pytest.mark.parametrize("kind", ["neurons", "per-layer", "cross-layer"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_directions_are_what_features_read_and_write(kind: str, family: str, tiny) -> None:
    model = tiny(family)
    decomposition = basis(kind, model).decompose(freeze(model, prompt(model)))
    nodes = some_features(decomposition)
    found = directions(decomposition, nodes)
    for i in range(0, len(nodes), 5):
        layer = decomposition.layers[nodes.layer[i]]
        row = int(((layer.position == nodes.position[i]) & (layer.feature == nodes.index[i])).nonzero()[0, 0])
        torch.testing.assert_close(found.reads[i], layer.read_vectors()[row])
        torch.testing.assert_close(found.writes[i], sum(layer.write_vectors(to)[row] for to in layer.writes))


@pytest.mark.parametrize("kind", ["neurons", "per-layer"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_promoted_tokens_are_those_that_what_is_left_points_at(kind: str, family: str, tiny) -> None:
    model = tiny(family)
    frozen = freeze(model, prompt(model))
    decomposition = basis(kind, model).decompose(frozen)
    nodes = some_features(decomposition)
    left = carried(decomposition, nodes)
    says = promoted(decomposition, nodes, left, model.tokenizer.piece, top=3)
    lengths = token_lengths(model.weights)
    for i in range(0, len(nodes), 5):
        logits = frozen.unembed(left[i].expand_as(frozen.embed))[nodes.position[i]].float()
        logits = logits - logits.mean()
        cosines = logits / lengths
        assert cosines[says.tokens[i]].tolist() == pytest.approx(cosines.topk(3).values.tolist(), abs=1e-5)
        least = cosines.topk(3, largest=False).values
        assert cosines[says.suppressed[i]].tolist() == pytest.approx(least.tolist(), abs=1e-5)
        assert logits[says.tokens[i]].tolist() == pytest.approx(says.logits[i].tolist(), abs=1e-5)
        assert logits[says.suppressed[i]].tolist() == pytest.approx(says.suppressed_logits[i].tolist(), abs=1e-5)
    assert says.pieces[int(says.tokens[0, 0])] == model.tokenizer.piece(int(says.tokens[0, 0]))


def test_a_graph_without_features_says_nothing(tiny) -> None:
    model = tiny("llama")
    decomposition = per_layer(model, Relu()).decompose(freeze(model, prompt(model)))
    nodes = some_features(decomposition)
    none = replace(nodes, **{name: getattr(nodes, name)[:0] for name in nodes.__slots__})
    says = promoted(decomposition, none, carried(decomposition, none), str)
    assert says.tokens.shape == (0, 5)
    assert "for 0 features" in repr(says)
    assert Graph.__name__ == "Graph"
