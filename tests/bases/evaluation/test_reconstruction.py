"""FVU by its definition, the median within the width of its bins, features counted one by one."""

import pytest
import torch

from micrographia.bases.evaluation.baselines import ConstantStandIn
from micrographia.bases.evaluation.reconstruction import Reconstruction, median, reconstruct
from micrographia.bases.evaluation.standin import CrossLayerStandIn, NeuronStandIn, PerLayerStandIn
from micrographia.bases.transcoder import Encoder, PerLayer, TranscoderLayer
from micrographia.errors import WorkError
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.store import silent
from tests.bases.evaluation.bases import cross_layer, normal, per_layer, some_passages

LAYERS = (0, 1, 2)


def run_all(model: Model, passages):
    """Inputs and outputs of all MLPs behind position 0, document by document."""
    runs = [
        model.run(model.tokenizer.from_ids(passage.ids), read=["mlp_in", "mlp_out"]) for passage in passages.passages
    ]
    return [[(run[f"mlp_in.{layer}"][0, 1:], run[f"mlp_out.{layer}"][0, 1:]) for layer in LAYERS] for run in runs]


def measured(model: Model, stand_in, passages, tokens: int = 40) -> Reconstruction:
    means = {Layer(layer): normal(model.anatomy.d_model, seed=99) * 0.1 for layer in LAYERS}
    return reconstruct(model, passages, [stand_in], means, tokens=tokens, progress=silent)[0]


@pytest.mark.parametrize("case", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("skip", [False, True])
def test_fvu_is_what_its_definition_says(tiny, case: str, skip: bool) -> None:
    model = tiny(case)
    passages = some_passages(12, 9, 12, 5, 7)
    basis = per_layer(model, "jumprelu", skip=skip)
    found = measured(model, PerLayerStandIn(basis), passages)
    held = run_all(model, passages)
    for layer in LAYERS:
        x, y = (torch.cat([document[layer][side] for document in held]) for side in (0, 1))
        wrong = y - basis.layers[Layer(layer)](x)
        fvu = wrong.square().sum() / (y - y.mean(0)).square().sum()
        assert (found.error[:, layer].sum() / found.spread[:, layer].sum()).item() == pytest.approx(
            float(fvu), rel=1e-9
        )
        for number, document in enumerate(held):
            mine = document[layer][1] - basis.layers[Layer(layer)](document[layer][0])
            assert found.error[number, layer].item() == pytest.approx(float(mine.square().sum()), rel=1e-9)
        acts = basis.layers[Layer(layer)].encoder(x)
        assert found.active[:, layer].sum() == acts.count_nonzero()
        assert torch.equal(found.fired[Layer(layer)], (acts != 0).sum(0))
        own = wrong.square().sum(-1) / (y - normal(model.anatomy.d_model, seed=99) * 0.1).square().sum(-1)
        assert median(found.ratios.sum(0)[layer]).item() == pytest.approx(float(own.quantile(0.5)), rel=0.06)
    assert found.positions.tolist() == [11, 8, 11, 4, 6]


def test_a_cross_layer_basis_is_judged_by_what_all_layers_write(tiny) -> None:
    model, passages = tiny("llama"), some_passages(12, 9)
    basis = cross_layer(model, skip=True)
    found = measured(model, CrossLayerStandIn(basis, 3), passages)
    for number, document in enumerate(run_all(model, passages)):
        acts = {layer: encoder(document[layer][0]) for layer, encoder in basis.encoders.items()}
        top = sum(acts[layer] @ basis.decoders[layer][2 - layer] for layer in acts) + basis.biases[Layer(2)]
        wrong = document[2][1] - top - document[2][0] @ basis.skips[Layer(2)].T
        assert found.error[number, 2].item() == pytest.approx(float(wrong.square().sum()), rel=1e-9)
    assert set(found.fired) == {0, 2}


def test_neurons_leave_nothing_unexplained(model: Model) -> None:
    found = measured(model, NeuronStandIn(model), some_passages(12, 9))
    assert (found.error.sum(0) / found.spread.sum(0)).max() < 1e-20
    assert (median(found.ratios.sum(0)) == 0).all()


def test_an_mlp_of_plain_relu_is_a_perfect_transcoder(rectified: Model) -> None:
    layers = {}
    for layer in LAYERS:
        mlp = rectified.weights.blocks[layer].mlp
        encoder = Encoder(mlp.up.weight, mlp.up.bias, per_layer(rectified, "relu").layers[Layer(0)].encoder.rule)
        layers[Layer(layer)] = TranscoderLayer(encoder, mlp.down.weight.T, mlp.down.bias)
    found = measured(rectified, PerLayerStandIn(PerLayer(layers)), some_passages(12, 9))
    assert (found.error.sum(0) / found.spread.sum(0)).max() < 1e-20


def test_how_much_is_read_at_a_time_does_not_matter(tiny) -> None:
    model, passages = tiny("gemma2"), some_passages(12, 9, 12, 5, 7)
    one, other = (measured(model, PerLayerStandIn(per_layer(model)), passages, tokens) for tokens in (12, 1000))
    assert torch.allclose(one.error, other.error, rtol=1e-9)
    assert torch.allclose(one.spread, other.spread, rtol=1e-9)
    assert torch.equal(one.ratios, other.ratios)


@pytest.mark.parametrize("n", [1, 2, 7, 400])
def test_the_median_of_a_histogram(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    values = 10 ** (torch.randn(n, generator=generator, dtype=torch.float64) - 1)
    bins = ((values.log10() + 6) * 40).long()
    exact = values.sort().values[[(n - 1) // 2, n // 2]]
    found = float(median(bins.bincount(minlength=360).double()))
    assert exact[0] * 10**-0.026 <= found <= exact[1] * 10**0.026


def test_a_median_of_nothing_is_no_number() -> None:
    assert median(torch.zeros(2, 360)).isnan().all()


def test_what_is_no_number_is_refused(tiny) -> None:
    model = tiny("llama")
    broken = ConstantStandIn({Layer(1): torch.full((model.anatomy.d_model,), torch.nan, dtype=torch.float64)})
    with pytest.raises(WorkError, match="What is written at layers 1 is not a number"):
        measured(model, broken, some_passages(12, 9))
