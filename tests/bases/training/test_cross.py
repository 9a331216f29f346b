"""Cross-layer training: sparse gradients against dense autograd, and a transcoder that learns to write ahead."""

import pytest
import torch

from micrographia.bases.training.blocks import Block
from micrographia.bases.training.codes import Codes, places_above, places_of, places_topk
from micrographia.bases.training.config import TrainConfig
from micrographia.bases.training.cross import CrossParameters, TrainedCrossLayer, cross_gradients
from micrographia.ids import Layer
from micrographia.model.weights import Linear, MlpWeights

L, ROWS, D, FEATURES = 3, 30, 8, 40


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def parameters() -> CrossParameters:
    return CrossParameters(
        [random(FEATURES, D, seed=i) for i in range(L)],
        [random(FEATURES, seed=i) for i in range(L)],
        [[random(FEATURES, D, seed=10 * i + to) for to in range(L - i)] for i in range(L)],
        [random(D, seed=i) for i in range(L)],
    )


def dense(p: CrossParameters, masks: list[torch.Tensor], x: list[torch.Tensor], y: list[torch.Tensor], variances):
    """Every decoder a dense product, as the definition has it."""
    tensors = [t.clone().requires_grad_() for t in p.tensors()]
    own = CrossParameters.of(tensors, L)
    acts = [(x[i] @ own.encoders[i].T + own.encoder_biases[i]) * masks[i] for i in range(L)]
    losses = []
    for target in range(L):
        out = own.biases[target]
        for source in range(target + 1):
            out = out + acts[source] @ own.decoders[source][target - source]
        losses.append((out - y[target]).square().sum() / (ROWS * variances[target]))
    sum(losses).backward()
    return [float(loss.detach()) for loss in losses], [t.grad for t in tensors]


@pytest.mark.parametrize("case", ["topk", "batchtopk", "dead", "alive"])
def test_gradients_equal_dense_autograds(case: str) -> None:
    p = parameters()
    x, y = ([random(ROWS, D, seed=10 * side + i) for i in range(L)] for side in (1, 2))
    masks: list[torch.Tensor] = []
    codes: list[Codes] = []
    for i in range(L):
        pre = x[i] @ p.encoders[i].T + p.encoder_biases[i]
        mask = torch.zeros(pre.numel(), dtype=torch.bool)
        if case == "alive" or (case == "topk" and i == 1):
            mask[:] = True
        elif case == "topk":
            mask[places_topk(pre, 5)] = True
        elif case == "batchtopk":
            mask[places_above(pre, 1.5)] = True
        masks.append(mask.view(pre.shape))
        codes.append(Codes.of(pre, places_of(masks[i]), torch.float64))
    variances = [3.0, 0.5, 7.0]
    found = cross_gradients(p, codes, x, y, variances)
    losses, wanted = dense(p, masks, x, y, variances)
    assert found.losses == pytest.approx(losses, abs=1e-9)
    assert found.l0 == [mask.sum().item() / ROWS for mask in masks]
    for ours, theirs in zip(found.tensors, wanted, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-9


CONFIG = TrainConfig(
    architecture="cross-layer", skip=False, features=48, k=6, tokens=24_000, block=1000, batch=100, learning_rate=3e-3
)


def block(number: int) -> Block:
    """Layer 1's output is decided by what layer 0 reads, and its own input is noise: only writing ahead explains it."""
    generator = torch.Generator().manual_seed(number)
    shape = (CONFIG.block, D)
    x = {Layer(i): torch.randn(shape, generator=generator) for i in range(2)}
    return Block(number, x, {Layer(0): x[Layer(0)].relu(), Layer(1): (x[Layer(0)] - 0.5).relu()})


def trained(n_blocks: int) -> TrainedCrossLayer:
    mlp = MlpWeights(None, Linear(torch.randn(16, D)), Linear(torch.randn(D, 16)))
    unit = TrainedCrossLayer.begin(CONFIG, {Layer(0): mlp, Layer(1): mlp}, block(0))
    for number in range(n_blocks):
        unit.train(block(number))
    return unit


def test_it_learns_to_write_ahead() -> None:
    unit = trained(24)
    basis, held_out = unit.finished(), block(1000)
    acts = {layer: encoder(held_out.inputs[layer]) for layer, encoder in basis.encoders.items()}
    alone = basis.biases[Layer(1)] + acts[Layer(1)] @ basis.decoders[Layer(1)][0]
    together = alone + acts[Layer(0)] @ basis.decoders[Layer(0)][1]
    wanted = held_out.outputs[Layer(1)]

    def fvu(out: torch.Tensor) -> float:
        return float((out - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum())

    assert fvu(alone) > 0.9
    assert fvu(together) < 0.35


def test_state_gives_back_what_was_saved() -> None:
    one = trained(3)
    other = TrainedCrossLayer.restored(CONFIG, one.layers, {name: t.clone() for name, t in one.state().items()})
    for unit in (one, other):
        unit.train(block(3))
    assert all(torch.equal(tensor, other.state()[name]) for name, tensor in one.state().items())


def test_dead_features_are_planted_anew() -> None:
    unit = trained(1)
    unit.parameters.encoder_biases[1][:10] = -1e6
    unit.silent[1, :10] = CONFIG.dead_after
    assert unit.replant(block(1)) >= 10
    codes = unit._codes(1, block(1).inputs[Layer(1)])
    assert set(range(10)) & set(codes.feature.tolist())
