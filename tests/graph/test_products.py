"""The faster way is taken only where it gives the same, and nothing is left changed."""

import time

import pytest
import torch

from micrographia.graph.products import ROUNDED, fast_products, multiply


def precision_in_use() -> str:
    """The precision at which `multiply` multiplies just now."""
    seen: list[str] = []
    addmm = torch.addmm

    def spied(*args, **options):
        seen.append(torch.get_float32_matmul_precision())
        return addmm(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "addmm", spied)
        multiply(torch.ones(2, 3), torch.ones(3, 4), torch.empty(2, 4))
    return seen[0]


def test_what_was_set_is_there_again_even_after_a_failure() -> None:
    with pytest.raises(KeyError), fast_products(lambda: torch.ones(1), "a failure"):
        raise KeyError
    assert torch.get_float32_matmul_precision() == precision_in_use() == "highest"
    torch.set_float32_matmul_precision("high")
    try:
        with fast_products(lambda: torch.ones(1), "somebody's own") as way:
            assert way == "highest"
            assert torch.get_float32_matmul_precision() == precision_in_use() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    ("off", "faster", "wanted"), [(0.0, True, "medium"), (1e-3, True, "highest"), (0.0, False, "highest")]
)
def test_it_must_be_faster_and_the_same(off: float, faster: bool, wanted: str) -> None:
    def trial() -> torch.Tensor:
        medium = precision_in_use() == "medium"
        time.sleep(0.002 if medium == faster else 0.01)
        return torch.ones(3) + off * medium

    key = f"trial {off} {faster}"
    with fast_products(trial, key) as way:
        assert way == precision_in_use() == wanted
    with fast_products(lambda: pytest.fail("a trial is held once"), key) as again:
        assert again == wanted
    assert torch.get_float32_matmul_precision() == precision_in_use() == "highest"


def test_a_trial_that_fails_leaves_nothing_changed() -> None:
    def broken() -> torch.Tensor:
        raise ArithmeticError

    with pytest.raises(ArithmeticError), fast_products(broken, "broken"):
        pass
    assert torch.get_float32_matmul_precision() == precision_in_use() == "highest"


@pytest.mark.parametrize("rows", [1, ROUNDED, ROUNDED + 3])
@pytest.mark.parametrize("more", [0, ROUNDED])
@pytest.mark.parametrize("add", [False, True])
def test_either_way_gives_the_product_and_what_lies_behind_it_does_not_matter(rows: int, more: int, add: bool) -> None:
    generator = torch.Generator().manual_seed(rows)
    right = torch.randn(8, 5, generator=generator)
    lefts, outs = (torch.full((rows + more, n), torch.nan) for n in (8, 5))
    left, out = lefts[:rows].normal_(generator=generator), outs[:rows].normal_(generator=generator)
    wanted = left @ right + (out if add else 0)

    def medium() -> torch.Tensor:
        time.sleep(0 if precision_in_use() == "medium" else 0.005)
        return torch.ones(1)

    with fast_products(medium, "made to win") as way:
        assert way == "medium"
        multiply(left, right, out, add=add)
    assert (out - wanted).abs().max() <= 1e-5
