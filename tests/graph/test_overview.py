"""Total effects: they add up, they are those of every path together, and they are what autograd finds."""

import numpy as np
import pytest
import torch

from micrographia.bases.neurons import Neurons
from micrographia.errors import CallError
from micrographia.graph.overview import overview, overview_of
from micrographia.graph.select import Everything
from micrographia.graph.targets import Tokens, resolve
from micrographia.graph.trace import Trace
from micrographia.graph.tracing import trace
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from micrographia.model.readout import token_lengths
from tests.graph.oracle import BASES, basis_for, prompt

EXACT = 1e-9


@pytest.mark.parametrize("basis", BASES)
def test_tokens_errors_and_bias_add_up_to_the_value(model: Model, basis: str) -> None:
    found = overview(model, basis_for(basis, model), prompt(model), target=Tokens(positions=(4, -1)))
    total = found.tokens.sum() + found.errors.sum() + found.bias
    assert total == pytest.approx(found.value, abs=EXACT)
    assert len(found.effect) == len(found.layer) == len(found.activation)


def all_paths(whole: Trace) -> np.ndarray:
    """w (1 − V)⁻¹ a, written out densely, where V are edges per unit of the source's activation."""
    n = whole.nodes.n_features
    rows, activation = whole.rows.double(), whole.nodes.activation[:n].double()
    per_unit = torch.where(activation == 0, 0.0, rows[:, :n] / activation)
    worth = torch.linalg.solve((torch.eye(n, dtype=torch.float64) - per_unit[:n]).T, per_unit[n:].T @ whole.weights)
    return (worth * activation).numpy()


@pytest.mark.parametrize("basis", ["per-layer", "skip", "cross-layer"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "neox", "gemma2"])
def test_effects_are_those_of_all_paths_of_the_full_graph(tiny, family: str, basis: str) -> None:
    model = tiny(family)
    chosen = basis_for(basis, model)
    whole = trace(model, chosen, prompt(model), selection=Everything())
    found = overview(model, chosen, prompt(model))
    nodes = whole.nodes
    same = (nodes.layer[nodes.features], nodes.position[nodes.features], nodes.index[nodes.features])
    for column, theirs in zip((found.layer, found.position, found.index), same, strict=True):
        assert (column == theirs.numpy()).all()
    assert found.effect == pytest.approx(all_paths(whole), abs=EXACT)


def test_autograd_through_the_features_agrees(tiny) -> None:
    """The frozen map with its features let go: each reads what the changed residual holds."""
    model = tiny("llama")
    found = basis_for("per-layer", model).decompose(freeze(model, prompt(model)))
    frozen = found.frozen
    pushes = [torch.zeros_like(one.activation, requires_grad=True) for one in found.layers]
    x = frozen.embed
    for number, one in enumerate(found.layers):
        x = x + frozen.attend(number, x).sum(0) + frozen.attend_bias(number).sum(0) + frozen.attn_bias(number)
        norm = frozen.weights.blocks[number].mlp_norm
        seen = x * norm.gain / frozen.layers[number].mlp_norm_scale
        now = (one.read_vectors() * seen[one.position]).sum(1) + one.read_bias + pushes[number]
        written = now[:, None] * one.write_vectors(one.layer)
        x = x + torch.zeros_like(x).index_add(0, one.position, written) + one.constant + one.error
    target = resolve(None, found, model.tokenizer)
    value = sum(t.weight * (t.bias + sum(i.vector @ x[i.position] for i in t.injections)) for t in target)
    slopes = torch.autograd.grad(value, pushes)
    effects = torch.cat([one.activation * slope for one, slope in zip(found.layers, slopes, strict=True)])
    seen = overview_of(found, target)
    assert seen.value == pytest.approx(value.item(), abs=EXACT)
    assert seen.effect == pytest.approx(effects.numpy(), abs=EXACT)


def test_the_strongest_come_first_and_say_what_they_promote(tiny) -> None:
    model = tiny("gpt2")
    found = overview(model, "neurons", prompt(model), top=30)
    sizes = [abs(one.effect) for one in found.strongest]
    assert sizes == sorted(np.abs(found.effect[found.position > 0]), reverse=True)[:30]
    assert all(one.node.position > 0 for one in found.strongest)
    parts = Neurons().decompose(freeze(model, prompt(model)))
    lengths = token_lengths(model.weights)
    for one in found.strongest:
        layer = parts.layers[one.node.layer]
        here = (layer.position == one.node.position) & (layer.feature == one.node.index)
        assert one.activation == pytest.approx(float(layer.activation[here]))
        if one.node.layer == len(parts.layers) - 1:
            written = one.activation * layer.write_vectors(layer.layer)[here]
            logits = parts.frozen.promotes(written, one.node.position)[0]
            best = ((logits - logits.mean()) / lengths).argmax()
            assert one.promotes[0] == model.tokenizer.piece(int(best))
    assert {one.node.layer for one in found.strongest} >= {len(parts.layers) - 1}


def test_what_cannot_be_explained_is_refused(tiny) -> None:
    with pytest.raises(CallError, match="no position 99"):
        overview(tiny("gpt2"), "neurons", prompt(tiny("gpt2")), target=Tokens(positions=99))
