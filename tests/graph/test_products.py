"""The faster way is taken only where it gives the same, and nothing is left changed."""

import time

import pytest
import torch

from micrographia.graph.products import fast_products


def test_what_was_set_is_there_again_even_after_a_failure() -> None:
    with pytest.raises(KeyError), fast_products(lambda: torch.ones(1), "a failure"):
        raise KeyError
    assert torch.get_float32_matmul_precision() == "highest"
    torch.set_float32_matmul_precision("high")
    try:
        with fast_products(lambda: torch.ones(1), "somebody's own") as way:
            assert way == "highest"
            assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    ("off", "faster", "wanted"), [(0.0, True, "medium"), (1e-3, True, "highest"), (0.0, False, "highest")]
)
def test_it_must_be_faster_and_the_same(off: float, faster: bool, wanted: str) -> None:
    def trial() -> torch.Tensor:
        medium = torch.get_float32_matmul_precision() == "medium"
        time.sleep(0.002 if medium == faster else 0.01)
        return torch.ones(3) + off * medium

    key = f"trial {off} {faster}"
    with fast_products(trial, key) as way:
        assert way == torch.get_float32_matmul_precision() == wanted
    with fast_products(lambda: pytest.fail("a trial is held once"), key) as again:
        assert again == wanted


def test_a_trial_that_fails_leaves_nothing_changed() -> None:
    def broken() -> torch.Tensor:
        raise ArithmeticError

    with pytest.raises(ArithmeticError), fast_products(broken, "broken"):
        pass
    assert torch.get_float32_matmul_precision() == "highest"
