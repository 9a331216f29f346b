"""The sparse step's gradients against dense autograd, and its edge cases."""

import pytest
import torch

from micrographia.bases.training.codes import Codes, select_batch_topk, select_topk, threshold_for
from micrographia.bases.training.step import Parameters, gradients, selected

ROWS, D, FEATURES = 40, 12, 64


def parameters(dtype: torch.dtype = torch.float64, *, skip: bool = True, seed: int = 0) -> Parameters:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return Parameters(
        random(FEATURES, D), random(FEATURES), random(FEATURES, D), random(D), random(D, D) if skip else None
    )


def batch(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return tuple(torch.randn(ROWS, D, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))


def dense(p: Parameters, mask: torch.Tensor, x: torch.Tensor, y: torch.Tensor, variance: float):
    tensors = [t.clone().requires_grad_() for t in p.tensors()]
    encoder, encoder_bias, decoder, bias, *skip = tensors
    acts = (x @ encoder.T + encoder_bias) * mask
    out = acts @ decoder + bias
    if skip:
        out = out + x @ skip[0].T
    loss = (out - y).square().sum() / (len(x) * variance)
    loss.backward()
    return float(loss.detach()), [t.grad for t in tensors]


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("case", ["topk", "batchtopk", "ties", "dead", "alive"])
def test_gradients_equal_dense_autograds(case: str, skip: bool) -> None:
    p, (x, y) = parameters(skip=skip), batch()
    if case == "ties":
        p.encoder[1::2] = p.encoder[::2]
        p.encoder_bias[1::2] = p.encoder_bias[::2]
    pre = x @ p.encoder.T + p.encoder_bias
    if case == "dead":
        mask = torch.zeros_like(pre, dtype=torch.bool)
    elif case == "alive":
        mask = torch.ones_like(pre, dtype=torch.bool)
    elif case == "batchtopk":
        mask = select_batch_topk(pre, threshold_for(pre, 7))
    else:
        mask = select_topk(pre, 7)
    found = gradients(p, Codes.of(pre, mask), x, y, variance=3.0)
    loss, wanted = dense(p, mask, x, y, variance=3.0)
    assert abs(found.loss - loss) <= 1e-9
    assert found.l0 == mask.sum().item() / ROWS
    assert torch.equal(found.fired, mask.sum(0))
    for ours, theirs in zip(found.tensors, wanted, strict=True):
        assert (ours - theirs).abs().max() <= 1e-9


def test_float32_gradients_are_right_to_their_rounding() -> None:
    p, (x, y) = parameters(torch.float32), batch(torch.float32)
    pre = x @ p.encoder.T + p.encoder_bias
    mask = select_topk(pre, 7)
    found = gradients(p, Codes.of(pre, mask), x, y, variance=3.0)
    _, wanted = dense(p, mask, x, y, variance=3.0)
    for ours, theirs in zip(found.tensors, wanted, strict=True):
        assert torch.linalg.norm(ours - theirs) <= 1e-5 * torch.linalg.norm(theirs)


def test_ties_leave_exactly_k_active() -> None:
    pre = torch.ones(5, FEATURES)
    assert select_topk(pre, 7).sum(1).tolist() == [7] * 5
    assert select_topk(-pre, 7).sum() == 0


def test_the_threshold_lets_k_entries_per_row_through() -> None:
    pre = torch.randn(1000, 300, dtype=torch.float64)
    codes, threshold = selected(pre, "batchtopk", 12, None)
    assert abs(len(codes.value) / 1000 - 12) < 1.0
    again, moved = selected(pre, "batchtopk", 12, 0.0)
    assert moved == pytest.approx(0.1 * threshold)
    assert len(again.value) > len(codes.value)


def test_topk_of_more_than_there_is_keeps_all_that_is_positive() -> None:
    pre = torch.randn(9, 5)
    assert torch.equal(select_topk(pre, 50), pre > 0)
    assert threshold_for(pre, 50) == float(pre.min())
