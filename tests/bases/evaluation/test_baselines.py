"""The baselines are as good as they can be: means, and the best linear map."""

from dataclasses import replace

import pytest
import torch

from micrographia.bases.evaluation import baselines
from micrographia.bases.evaluation.baselines import _SHARES, Moments, calibrate, ridge
from micrographia.bases.evaluation.standin import MlpView, PerLayerStandIn
from micrographia.errors import WorkError
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.store import silent
from tests.bases.evaluation.bases import normal, per_layer, some_passages


def fitted(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    halves = Moments(), Moments()
    for part in range(0, len(x), 10):
        halves[part // 10 % 2].add(x[part : part + 10], y[part : part + 10])
    return ridge(*halves)


def test_a_planted_linear_map_is_found() -> None:
    x, planted = normal(400, 12) * 3 + 1, normal(8, 12, seed=1)
    weight, bias = fitted(x, x @ planted.T + 0.5)
    assert (weight - planted).abs().max() < 1e-3
    assert (bias - 0.5).abs().max() < 1e-2


def test_with_much_text_it_is_least_squares() -> None:
    x = normal(5000, 6, seed=2) + 2
    y = torch.tanh(x @ normal(5, 6, seed=3).T) + 0.1 * normal(5000, 5, seed=4)
    weight, bias = fitted(x, y)
    solved = torch.linalg.lstsq(torch.cat([x, torch.ones(5000, 1, dtype=x.dtype)], 1), y).solution
    best = (y - torch.cat([x, torch.ones(5000, 1, dtype=x.dtype)], 1) @ solved).square().sum()
    assert (y - x @ weight.T - bias).square().sum() <= 1.001 * best


@pytest.mark.parametrize(("noise", "shrunk"), [(0.01, False), (30.0, True)])
def test_noise_is_met_with_a_larger_penalty(noise: float, shrunk: bool) -> None:
    """On other text, what is chosen is no worse than either end of what could be chosen."""
    x, other, planted = normal(60, 40), normal(2000, 40, seed=5), normal(4, 40, seed=6)
    y = x @ planted.T + noise * normal(60, 4, seed=7)
    weight, bias = fitted(x, y)
    exact = torch.linalg.lstsq(torch.cat([x, torch.ones(60, 1, dtype=x.dtype)], 1), y).solution
    plain = torch.cat([other, torch.ones(2000, 1, dtype=x.dtype)], 1) @ exact
    ours, free = ((other @ planted.T - guess).square().sum().item() for guess in (other @ weight.T + bias, plain))
    assert (ours < 0.9 * free) if shrunk else (ours < 1.5 * free + 1e-3)


@pytest.mark.parametrize("case", ["llama", "gemma2", "gpt2"])
def test_calibration_reads_what_the_model_writes(tiny, case: str) -> None:
    model = tiny(case)
    passages = some_passages(*[12] * 30, 7, 5)
    basis = PerLayerStandIn(per_layer(model, "relu", layers=(0, 2)))
    found = calibrate(model, passages, basis, tokens=60, progress=silent)
    assert found.n_positions == passages.n_positions
    assert set(found.means) == {0, 1, 2}
    assert found.linear.layers == (0, 2)
    runs = [
        model.run(model.tokenizer.from_ids(passage.ids), read=["mlp_in", "mlp_out"]) for passage in passages.passages
    ]
    for layer in (Layer(0), Layer(2)):
        x, y = (torch.cat([run[f"{point}.{layer}"][0, 1:] for run in runs]) for point in ("mlp_in", "mlp_out"))
        assert (found.means[layer] - y.mean(0)).abs().max() < 1e-9
        active = basis.begin()(MlpView(layer, x)).acts.count_nonzero() / len(x)
        assert found.active[layer] == pytest.approx(float(active))
        linear = found.linear.begin()(MlpView(layer, x)).output
        assert (y - linear).square().sum() < (y - y.mean(0)).square().sum()
        halves = Moments(), Moments()
        for run, passage in zip(runs, passages.passages, strict=True):
            halves[passage.document % 2].add(run[f"mlp_in.{layer}"][0, 1:], run[f"mlp_out.{layer}"][0, 1:])
        weight, bias = ridge(*halves)
        assert (x @ weight.T + bias - linear).abs().max() < 1e-9


def test_a_model_that_is_not_a_number_is_refused(tiny) -> None:
    model = tiny("llama")
    down = model.weights.blocks[1].mlp.down
    broken = replace(model.weights.blocks[1].mlp, down=replace(down, weight=down.weight * torch.inf))
    blocks = list(model.weights.blocks)
    blocks[1] = replace(blocks[1], mlp=broken)
    other = Model("broken", model.anatomy, replace(model.weights, blocks=tuple(blocks)), model.tokenizer)
    basis = PerLayerStandIn(per_layer(model, layers=(0,)))
    with pytest.raises(WorkError, match=r"What the MLPs of layers 1(, 2)? write is not a number"):
        calibrate(other, some_passages(*[12] * 4), basis, tokens=60, progress=silent)


def test_the_penalty_is_the_best_for_the_other_half() -> None:
    """Every penalty tried by hand: learned on one half, judged on the other, and then the other way round."""
    x, y = normal(80, 30) * 2 + 1, normal(80, 3, seed=1)
    y = y + x @ (3 * normal(3, 30, seed=2)).T
    parts = [(x[::2], y[::2]), (x[1::2], y[1::2])]
    halves = Moments(), Moments()
    for half, part in zip(halves, parts, strict=True):
        half.add(*part)

    def learned(inputs: torch.Tensor, outputs: torch.Tensor, share: float):
        centred = inputs - inputs.mean(0)
        gram = centred.T @ centred
        penalty = share * gram.diagonal().mean() * torch.eye(30, dtype=gram.dtype)
        weight = torch.linalg.solve(gram + penalty, centred.T @ (outputs - outputs.mean(0))).T
        return weight, outputs.mean(0) - weight @ inputs.mean(0)

    def cost(share: float) -> float:
        total = 0.0
        for one, other in (parts, parts[::-1]):
            weight, bias = learned(*one, share)
            total += float((other[1] - other[0] @ weight.T - bias).square().sum())
        return total

    costs = {share: cost(share) for share in _SHARES}
    best = min(costs, key=costs.__getitem__)
    assert min(_SHARES) < best < max(_SHARES)
    weight, bias = ridge(*halves)
    expected = learned(x, y, best)
    assert (weight - expected[0]).abs().max() < 1e-9
    assert (bias - expected[1]).abs().max() < 1e-9


def test_active_features_are_counted_for_a_while(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model, passages = tiny("llama"), some_passages(*[12] * 30)
    basis = PerLayerStandIn(per_layer(model, "relu"))
    whole = calibrate(model, passages, basis, tokens=60, progress=silent).active
    monkeypatch.setattr(baselines, "_COUNTED", 100)
    part = calibrate(model, passages, basis, tokens=60, progress=silent).active
    assert part != whole
    assert all(part[layer] == pytest.approx(whole[layer], rel=0.2) for layer in whole)
