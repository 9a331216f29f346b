"""Where training begins: every decoder row is the least-squares answer of its feature alone."""

import torch

from micrographia.bases.training.codes import places_topk
from micrographia.bases.training.config import TrainConfig
from micrographia.bases.training.start import begin
from micrographia.model.weights import Linear, MlpWeights

D, FEATURES, ROWS, K = 8, 40, 500, 6


def test_decoder_rows_are_least_squares_of_what_is_left() -> None:
    torch.manual_seed(0)
    x = torch.randn(ROWS, D, dtype=torch.float64)
    y = x.relu() + 0.1
    mlp = MlpWeights(None, Linear(torch.randn(16, D)), Linear(torch.randn(D, 16)))
    config = TrainConfig(features=FEATURES, k=K, skip=False, selection="topk")
    weights, known = begin(config, mlp, x, y, seed=1)
    pre = x @ weights.encoder.T + weights.encoder_bias
    acts = torch.zeros_like(pre).flatten()
    places = places_topk(pre, K)
    acts[places] = pre.flatten()[places]
    acts = acts.view(pre.shape)
    wanted = acts.T @ (y - known.mean_out) / acts.square().sum(0)[:, None].clamp(min=1e-8)
    written, answer = acts @ wanted, y - known.mean_out
    strength = (written * answer).sum() / written.square().sum()
    assert (weights.decoder - strength * wanted).abs().max() <= 1e-9
    assert strength > 0.05
