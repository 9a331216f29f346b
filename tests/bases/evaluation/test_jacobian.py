"""Cosines of slopes: 1 for what moves as the MLP does, 0 for what does not move, else as differences say."""

import pytest
import torch

from micrographia.bases.evaluation.baselines import ConstantStandIn
from micrographia.bases.evaluation.jacobian import compare_slopes
from micrographia.bases.evaluation.standin import Mlp, MlpView, NeuronStandIn, PerLayerStandIn
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.store import silent
from tests.bases.evaluation.bases import per_layer, some_passages


def compared(model: Model, stand_in, *, tokens: int = 100, passages=None):
    passages = passages or some_passages(9, 7, 5)
    return compare_slopes(model, passages, [stand_in], tokens=tokens, seed=4, progress=silent)[0]


def test_neurons_move_as_the_mlps_do(model: Model) -> None:
    found = compared(model, NeuronStandIn(model))
    for cosines in (found.random, found.real):
        assert (cosines - found.positions[:, None]).abs().max() < 1e-9
    assert found.positions.tolist() == [8, 6, 4]


def test_what_does_not_move_counts_as_zero(tiny) -> None:
    model = tiny("llama")
    still = ConstantStandIn({Layer(1): torch.ones(model.anatomy.d_model, dtype=torch.float64)})
    found = compared(model, still)
    assert found.layers == (1,)
    assert not found.random.any()
    assert not found.real.any()


@pytest.mark.parametrize("case", ["llama", "gemma2", "gpt2"])
def test_cosines_are_those_of_differences(tiny, case: str) -> None:
    """Both functions are moved by a small step, at the positions of one document after the other."""
    model, passages = tiny(case), some_passages(9, 7, 5)
    basis = per_layer(model, skip=True)
    found = compared(model, PerLayerStandIn(basis), passages=passages)
    generator, step = torch.Generator().manual_seed(4), 1e-6
    runs = [model.run(model.tokenizer.from_ids(passage.ids), read=["mlp_in"]) for passage in passages.passages]
    for layer in range(3):
        x = torch.cat([run[f"mlp_in.{layer}"][0, 1:] for run in runs])
        random = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        real = x.roll(len(x) // 2, dims=0) - x
        for v, sums in ((random, found.random), (real, found.real)):
            moved = [f(x + step * v) - f(x - step * v) for f in (Mlp(model, Layer(layer)), basis.layers[Layer(layer)])]
            cosines = torch.cosine_similarity(*moved, dim=-1)
            expected = [part.sum() for part in cosines.split([8, 6, 4])]
            assert torch.allclose(sums[:, layer], torch.stack(expected), atol=1e-3)


def test_few_neurons_move_less_alike_the_fewer_they_are(tiny) -> None:
    model = tiny("llama")
    totals = [
        compared(model, NeuronStandIn(model, {Layer(1): k})).random.sum().item() for k in (2, 12, model.anatomy.d_mlp)
    ]
    assert totals[0] < totals[1] < totals[2]
    assert totals[2] == pytest.approx(18)
    assert NeuronStandIn(model, {Layer(1): 2}).begin()(MlpView(Layer(0), torch.zeros(1, 1))) is None
