"""What a stand-in writes is what its basis says, and its slope is how that moves."""

import pytest
import torch

from micrographia.bases.evaluation.standin import (
    CrossLayerStandIn,
    Mlp,
    MlpView,
    NeuronStandIn,
    PerLayerStandIn,
    StandIn,
)
from micrographia.bases.neurons import Neurons
from micrographia.ids import Layer
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from tests.bases.evaluation.bases import FEATURES, RULES, cross_layer, normal, per_layer

EXACT = 1e-9
LAYERS = (Layer(0), Layer(1), Layer(2))


def frozen_run(model: Model):
    return freeze(model, model.tokenizer.from_ids([3, 14, 15, 9, 2, 6, 5]))


def stand_ins(model: Model, rule: str = "topk") -> dict[str, StandIn]:
    return {
        "per-layer": PerLayerStandIn(per_layer(model, rule)),
        "skip": PerLayerStandIn(per_layer(model, rule, skip=True)),
        "cross-layer": CrossLayerStandIn(cross_layer(model, rule, skip=True), 3),
        "neurons": NeuronStandIn(model),
        "few neurons": NeuronStandIn(model, dict.fromkeys(LAYERS, 4)),
    }


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["per-layer", "skip", "cross-layer"])
def test_a_dictionary_writes_all_but_its_error(tiny, rule: str, kind: str) -> None:
    model = tiny("gemma2")
    basis = (
        cross_layer(model, rule, skip=True) if kind == "cross-layer" else per_layer(model, rule, skip=kind == "skip")
    )
    frozen = frozen_run(model)
    found = basis.decompose(frozen)
    turn = stand_ins(model, rule)[kind].begin()
    for layer in LAYERS:
        written = turn(MlpView(layer, frozen.mlp_in(layer)))
        assert written is not None
        assert (found.rebuilt(layer) - found.layers[layer].error - written.output).abs().max() <= EXACT
        assert (written.acts is None) == (len(found.layers[layer].activation) == 0)
        if written.acts is not None:
            assert torch.equal(written.acts[written.acts != 0], found.layers[layer].activation)


def test_all_neurons_write_what_the_mlp_writes(model: Model) -> None:
    frozen = frozen_run(model)
    found, turn = Neurons().decompose(frozen), NeuronStandIn(model).begin()
    for layer in LAYERS:
        written = turn(MlpView(layer, frozen.mlp_in(layer)))
        assert written is not None
        assert (written.output - frozen.mlp(layer)).abs().max() <= EXACT
        assert (written.acts.flatten() - found.layers[layer].activation).abs().max() <= EXACT
        assert (Mlp(model, layer)(frozen.mlp_in(layer)) - written.output).abs().max() <= EXACT


@pytest.mark.parametrize("case", ["llama", "gemma2", "olmo2", "gpt2"])
def test_few_neurons_are_those_that_write_most(tiny, case: str) -> None:
    """Every neuron's vector at every position, one by one."""
    model = tiny(case)
    frozen = frozen_run(model)
    turn = NeuronStandIn(model, {Layer(1): 4}).begin()
    written = turn(MlpView(Layer(1), frozen.mlp_in(1)))
    assert written is not None
    for position in range(7):
        vectors = frozen.neurons(1, position)
        best = vectors.norm(dim=-1).topk(4).indices
        expected = vectors[best].sum(0) + frozen.mlp_constant(1)[position]
        bias = model.weights.blocks[1].mlp_post_norm.bias if model.weights.blocks[1].mlp_post_norm else None
        assert (written.output[position] - expected - (0 if bias is None else bias)).abs().max() <= EXACT
        assert set(written.acts[position].nonzero()[:, 0].tolist()) == set(best.tolist())
    assert turn(MlpView(Layer(0), frozen.mlp_in(0))) is None


def test_a_layer_that_is_missing_is_left_alone(tiny) -> None:
    model = tiny("llama")
    stand_in = PerLayerStandIn(per_layer(model, layers=(2,)))
    assert stand_in.layers == (2,)
    x = normal(5, model.anatomy.d_model)
    turn = stand_in.begin()
    assert [turn(MlpView(layer, x)) is None for layer in LAYERS] == [True, True, False]
    crossed = CrossLayerStandIn(cross_layer(model), 3)
    assert crossed.layers == LAYERS
    assert crossed.begin()(MlpView(Layer(1), x)).acts is None


def test_no_active_feature_writes_the_bias(tiny) -> None:
    model = tiny("llama")
    basis = per_layer(model, "relu")
    mine = basis.layers[Layer(0)]
    mine.encoder.bias.fill_(-1e3)
    written = PerLayerStandIn(basis).begin()(MlpView(Layer(0), normal(5, model.anatomy.d_model)))
    assert written is not None
    assert torch.equal(written.output, mine.bias.expand(5, -1))


def test_many_or_few_active_features_are_decoded_alike(tiny) -> None:
    """Few are decoded row by row: the sum is the same as with all."""
    model = tiny("llama")
    x = normal(50, model.anatomy.d_model, seed=3)
    for bias, least, most in ((-0.8, 1, 50 * FEATURES // 16), (0.5, 50 * FEATURES // 4, 50 * FEATURES)):
        basis = per_layer(model, "relu")
        mine = basis.layers[Layer(0)]
        mine.encoder.bias.fill_(bias)
        written = PerLayerStandIn(basis).begin()(MlpView(Layer(0), x * 2))
        assert least <= int(written.acts.count_nonzero()) <= most
        assert (written.output - mine(x * 2)).abs().max() <= EXACT


@pytest.mark.parametrize("kind", ["per-layer", "skip", "cross-layer", "neurons", "few neurons"])
@pytest.mark.parametrize("case", ["llama", "gemma2", "gpt2"])
def test_a_slope_is_how_the_output_moves(tiny, case: str, kind: str) -> None:
    model = tiny(case)
    stand_in = stand_ins(model, "topk")[kind]
    d, step = model.anatomy.d_model, 1e-6
    x, v = normal(30, d, seed=8), normal(30, d, seed=9)
    for layer in LAYERS:
        ahead, behind = (stand_in.begin()(MlpView(layer, x + sign * step * v)).output for sign in (1, -1))
        found = stand_in.slope(MlpView(layer, x), v)
        assert torch.allclose((ahead - behind) / (2 * step), found, rtol=1e-4, atol=1e-6)
