"""The two equations of a basis, on every family and for every kind of basis.

What features, skip path, constant and error say must be the MLP's output; what a feature reads must be its activation.
"""

from dataclasses import replace

import pytest
import torch

from micrographia.bases.activation import ActivationRule, BatchTopK, JumpRelu, Relu, TopK
from micrographia.bases.basis import Basis, Decomposition
from micrographia.bases.neurons import Neurons
from micrographia.bases.transcoder import CrossLayer, Encoder, PerLayer, TranscoderLayer
from micrographia.errors import ModelFileError
from micrographia.ids import Layer
from micrographia.model.edits import at
from micrographia.model.frozen import freeze
from micrographia.model.model import Model

EXACT = 1e-9
FEATURES = 50


def prompt(model: Model):
    return model.tokenizer.from_ids([3, 14, 15, 9, 2, 6, 5])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5


def encoder(model: Model, rule: ActivationRule, seed: int = 0) -> Encoder:
    d = model.anatomy.d_model
    return Encoder(random(FEATURES, d, seed=seed), random(FEATURES, seed=seed + 1), rule)


def transcoder(model: Model, rule: ActivationRule, *, skip: bool = False, seed: int = 0) -> TranscoderLayer:
    d = model.anatomy.d_model
    return TranscoderLayer(
        encoder(model, rule, seed), random(FEATURES, d, seed=seed + 2), random(d), random(d, d) if skip else None
    )


def per_layer(model: Model, rule: ActivationRule, *, skip: bool = False) -> PerLayer:
    layers = map(Layer, range(model.anatomy.n_layers))
    return PerLayer({layer: transcoder(model, rule, skip=skip, seed=10 * layer) for layer in layers})


def cross_layer(model: Model, rule: ActivationRule, *, skip: bool = False) -> CrossLayer:
    n, d = model.anatomy.n_layers, model.anatomy.d_model
    layers = [Layer(layer) for layer in range(n)]
    return CrossLayer(
        {layer: encoder(model, rule, 10 * layer) for layer in layers},
        {layer: random(n - layer, FEATURES, d, seed=layer) for layer in layers},
        {layer: random(d, seed=layer + 7) for layer in layers},
        {layer: random(d, d, seed=layer + 9) for layer in layers} if skip else {},
    )


RULES: dict[str, ActivationRule] = {
    "relu": Relu(),
    "jumprelu": JumpRelu(torch.full((FEATURES,), 0.3, dtype=torch.float64)),
    "topk": TopK(6),
    "batchtopk": BatchTopK(6, 0.4),
}


def check_equations(model: Model, found: Decomposition) -> None:
    run = model.run(prompt(model), read=["mlp_in", "mlp_out"])
    for layer, features in enumerate(found.layers):
        assert (found.rebuilt(layer) - run[f"mlp_out.{layer}"][0]).abs().max() <= EXACT, layer
        x = run[f"mlp_in.{layer}"][0][features.position]
        read = (features.read_vectors() * x).sum(-1) + features.read_bias
        assert (read - features.activation).abs().max().item() <= EXACT if len(x) else True, layer


@pytest.mark.parametrize("rule", ["half", "frozen-gate"])
def test_neurons_are_exact_and_have_no_error(model: Model, rule) -> None:
    found = Neurons(rule).decompose(freeze(model, prompt(model)))
    assert all(layer.error is None for layer in found.layers)
    assert all(len(layer.activation) == 7 * model.anatomy.d_mlp for layer in found.layers)
    check_equations(model, found)
    run = model.run(prompt(model), read=["post"])
    for layer, features in enumerate(found.layers):
        assert (features.activation - run[f"post.{layer}"].flatten()).abs().max() <= EXACT


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_and_its_error_are_the_mlps_output(model: Model, rule: str, skip: bool) -> None:
    found = per_layer(model, RULES[rule], skip=skip).decompose(freeze(model, prompt(model)))
    check_equations(model, found)
    assert all((layer.activation > 0).all() and len(layer.activation) for layer in found.layers)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("skip", [False, True])
def test_a_cross_layer_transcoder_and_its_error_are_the_mlps_output(model: Model, rule: str, skip: bool) -> None:
    found = cross_layer(model, RULES[rule], skip=skip).decompose(freeze(model, prompt(model)))
    check_equations(model, found)
    assert [len(layer.writes) for layer in found.layers] == [3, 2, 1]
    assert all((layer.skip is not None) == skip for layer in found.layers)


def test_a_skip_path_across_layers_is_no_error(tiny) -> None:
    """What the skip path carries is missing from the error, and from nothing else."""
    model = tiny("gemma3")
    frozen = freeze(model, prompt(model))
    with_skip, without = (cross_layer(model, TopK(6), skip=skip).decompose(frozen).layers for skip in (True, False))
    for layer, (one, other) in enumerate(zip(with_skip, without, strict=True)):
        assert torch.equal(one.activation, other.activation)
        assert (other.error - one.error - frozen.mlp_in(layer) @ one.skip.T).abs().max() <= EXACT


def test_parts_of_a_cross_layer_transcoder_that_do_not_fit_are_refused(tiny) -> None:
    model = tiny("llama")
    whole, first, frozen = cross_layer(model, Relu()), Layer(0), freeze(model, prompt(model))
    d = model.anatomy.d_model
    with pytest.raises(ModelFileError, match="a decoder for each encoder"):
        replace(whole, decoders={first: whole.decoders[first]})
    with pytest.raises(ModelFileError, match="skip paths only at layers that have an encoder"):
        CrossLayer({}, {}, {}, {first: random(d, d)})
    other = CrossLayer({first: whole.encoders[first]}, {first: random(3, FEATURES + 1, d)}, {})
    with pytest.raises(ModelFileError, match=r"Layer 0: the encoder has shape \(50, 24\), the decoders \(3, 51, 24\)"):
        other.decompose(frozen)


def test_a_layer_that_is_missing_is_all_error(tiny) -> None:
    model = tiny("llama")
    full = per_layer(model, TopK(6))
    found = PerLayer({Layer(2): full.layers[Layer(2)]}).decompose(freeze(model, prompt(model)))
    check_equations(model, found)
    run = model.run(prompt(model), read=["mlp_out"])
    assert (found.layers[0].error - run["mlp_out.0"][0]).abs().max() <= EXACT
    assert len(found.layers[0].feature) == 0
    crossed = cross_layer(model, TopK(6))
    only_first = CrossLayer({Layer(0): crossed.encoders[Layer(0)]}, {Layer(0): crossed.decoders[Layer(0)]}, {})
    check_equations(model, only_first.decompose(freeze(model, prompt(model))))


def test_a_feature_writes_what_its_ablation_takes_away(tiny) -> None:
    """Put the transcoder and its error in place of the real MLP, take one feature out, and look at the stream."""
    model = tiny("gemma2")
    basis = per_layer(model, TopK(6), skip=True)
    frozen = freeze(model, prompt(model))
    features = basis.decompose(frozen).layers[1]
    node = 11
    place, index = int(features.position[node]), int(features.feature[node])
    mine = basis.layers[Layer(1)]

    def spliced(act, site, /, *, without: bool):
        x = frozen.mlp_in(1)
        acts = mine.encoder(x)
        if without:
            acts[place, index] = 0
        return (acts @ mine.decoder + mine.bias + x @ mine.skip.T + features.error)[None]

    whole, less = (
        model.run(
            prompt(model), read=["mlp_out.1"], edit=[at("mlp_out.1").apply(lambda a, s, w=w: spliced(a, s, without=w))]
        )["mlp_out.1"][0]
        for w in (False, True)
    )
    assert (whole - model.run(prompt(model), read=["mlp_out.1"])["mlp_out.1"][0]).abs().max() <= EXACT
    written = features.activation[node] * features.write_vectors(Layer(1))[node]
    assert ((whole - less)[place] - written).abs().max() <= EXACT


def test_every_basis_is_one(tiny) -> None:
    model = tiny("llama")
    for basis in (Neurons(), per_layer(model, TopK(6)), cross_layer(model, TopK(6))):
        assert isinstance(basis, Basis)
