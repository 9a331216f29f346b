"""The sparse step's gradients against dense autograd, and its edge cases."""

import pytest
import torch

from micrographia.bases.training.codes import Codes, places_above, places_of, places_topk, threshold_for
from micrographia.bases.training.step import Parameters, Shadow, gradients, selected

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


def chosen(case: str, pre: torch.Tensor) -> torch.Tensor:
    match case:
        case "dead":
            return torch.zeros_like(pre, dtype=torch.bool)
        case "alive":
            return torch.ones_like(pre, dtype=torch.bool)
        case "batchtopk":
            return mask_of(places_above(pre, threshold_for(pre, 7)), pre)
        case _:
            return mask_of(places_topk(pre, 7), pre)


def mask_of(places: torch.Tensor, pre: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros(pre.numel(), dtype=torch.bool)
    mask[places] = True
    return mask.view(pre.shape)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("case", ["topk", "batchtopk", "ties", "dead", "alive"])
def test_gradients_equal_dense_autograds(case: str, skip: bool) -> None:
    p, (x, y) = parameters(skip=skip), batch()
    if case == "ties":
        p.encoder[1::2] = p.encoder[::2]
        p.encoder_bias[1::2] = p.encoder_bias[::2]
    pre = x @ p.encoder.T + p.encoder_bias
    mask = chosen(case, pre)
    shadow = Shadow.of(p, torch.float64)
    found = gradients(p, shadow, Codes.of(pre, places_of(mask), torch.float64), x, y, variance=3.0)
    loss, wanted = dense(p, mask, x, y, variance=3.0)
    assert abs(found.loss - loss) <= 1e-9
    assert found.l0 == mask.sum().item() / ROWS
    assert torch.equal(found.fired, mask.sum(0))
    for ours, theirs in zip(found.tensors, wanted, strict=True):
        assert (ours - theirs).abs().max() <= 1e-9


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("skip", [False, True])
def test_narrow_gradients_are_right_to_their_rounding(dtype: torch.dtype, close: float, skip: bool) -> None:
    """With bfloat16 shadows the masters, the sums and the sparse products stay in float32."""
    p, (x, y) = parameters(torch.float32, skip=skip), batch(torch.float32)
    shadow = Shadow.of(p, dtype)
    pre = shadow.pre(x.to(dtype))
    mask = mask_of(places_topk(pre, 7), pre)
    codes = Codes.of(pre, places_of(mask), torch.float32)
    found = gradients(p, shadow, codes, x.to(dtype), y.to(dtype), variance=3.0)
    _, wanted = dense(p, mask, x, y, variance=3.0)
    for ours, theirs in zip(found.tensors, wanted, strict=True):
        assert ours.dtype == torch.float32
        assert torch.linalg.norm(ours - theirs) <= close * torch.linalg.norm(theirs)


def test_a_shadow_follows_its_weights() -> None:
    p = parameters(torch.float32)
    shadow = Shadow.of(p, torch.bfloat16)
    for tensor in p.tensors():
        tensor.add_(1)
    shadow.follow(p)
    assert torch.equal(shadow.encoder, p.encoder.bfloat16())
    assert torch.equal(shadow.encoder_bias, p.encoder_bias.bfloat16())
    assert shadow.skip is not None
    assert torch.equal(shadow.skip, p.skip.bfloat16())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.37, 2.0])
def test_what_is_above_a_threshold_is_found_in_every_type(dtype: torch.dtype, threshold: float) -> None:
    pre = torch.randn(50, 70, generator=torch.Generator().manual_seed(3)).to(dtype)
    pre[0, :3] = torch.tensor([0.0, -0.0, threshold])
    bound = torch.tensor(max(threshold, 0.0), dtype=dtype)
    assert torch.equal(mask_of(places_above(pre, threshold), pre), pre > bound)


def test_ties_leave_exactly_k_active() -> None:
    pre = torch.ones(5, FEATURES)
    assert mask_of(places_topk(pre, 7), pre).sum(1).tolist() == [7] * 5
    assert len(places_topk(-pre, 7)) == 0


def test_the_threshold_lets_k_entries_per_row_through() -> None:
    pre = torch.randn(1000, 300, dtype=torch.float64)
    codes, threshold = selected(pre, "batchtopk", 12, None, torch.float64)
    assert abs(len(codes.value) / 1000 - 12) < 1.0
    again, moved = selected(pre, "batchtopk", 12, 0.0, torch.float64)
    assert moved == pytest.approx(0.1 * threshold)
    assert len(again.value) > len(codes.value)


def test_topk_of_more_than_there_is_keeps_all_that_is_positive() -> None:
    pre = torch.randn(9, 5)
    assert torch.equal(mask_of(places_topk(pre, 50), pre), pre > 0)
    assert threshold_for(pre, 50) == float(pre.min())


def test_codes_of_more_features_than_a_short_can_count_are_sorted_right() -> None:
    n = (1 << 15) + 5
    pre = torch.zeros(4, n)
    pre[0, n - 1] = pre[1, 3] = pre[2, n - 1] = pre[3, 1 << 14] = 1.0
    codes = Codes.of(pre, places_above(pre, 0.5), torch.float32)
    by_feature = codes.by_feature()
    assert by_feature.row.tolist() == [1, 3, 0, 2]
    assert codes.counts()[n - 1] == 2
