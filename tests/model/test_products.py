"""The faster way is taken only where it gives the same, and nothing is left changed."""

import time
from collections.abc import Generator

import pytest
import torch
import torch.nn.functional as F

from micrographia.model import products
from micrographia.model.products import ROUNDED, linear, multiply

LARGE = torch.ones(1 << 11, 1 << 9)


@pytest.fixture(params=[False, True], ids=["plain", "onednn"])
def wins(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """What the trial says, and that every product is large."""

    def said(*_: object) -> bool:
        return request.param

    monkeypatch.setattr(products, "onednn_wins", said)
    monkeypatch.setattr(products, "_LARGE", 0)
    return request.param


@pytest.fixture
def chosen() -> Generator[None]:
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")


def precision_in_use(monkeypatch: pytest.MonkeyPatch, x: torch.Tensor, weight: torch.Tensor) -> str:
    """The precision at which `linear` multiplies just now."""
    seen: list[str] = []

    def spied(*_: torch.Tensor | None) -> torch.Tensor:
        seen.append(torch.get_float32_matmul_precision())
        return x.new_empty(len(x), len(weight))

    with monkeypatch.context() as patch:
        patch.setattr(F, "linear", spied)
        linear(x, weight)
    return seen[0]


def test_only_large_products_of_float32_on_a_cpu_ask_for_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*_: object) -> bool:
        return True

    monkeypatch.setattr(products, "onednn_wins", said)
    rows = torch.ones(2, LARGE.shape[1])
    assert precision_in_use(monkeypatch, rows, LARGE) == "medium"
    assert precision_in_use(monkeypatch, rows, LARGE[:-1]) == "highest"
    assert precision_in_use(monkeypatch, torch.ones(1, 1 << 9), LARGE) == "highest"
    for other in (LARGE.double(), LARGE.bfloat16(), LARGE.to("meta")):
        assert precision_in_use(monkeypatch, rows.to(other), other) == "highest"
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_precision_that_somebody_chose_is_kept(wins: bool, chosen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision_in_use(monkeypatch, LARGE, LARGE) == "high"
    assert torch.get_float32_matmul_precision() == "high"


def test_a_precision_that_was_chosen_for_a_back_end_is_kept(wins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed() -> str:
        raise RuntimeError("a mix of the legacy and new APIs")

    def never(_: str) -> None:
        pytest.fail("nothing is set")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_float32_matmul_precision", mixed)
        patch.setattr(torch, "set_float32_matmul_precision", never)
        assert linear(torch.ones(2, 3), torch.ones(4, 3)).tolist() == [[3.0] * 4] * 2


def test_what_was_set_is_there_again_after_a_failure(wins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **how: object) -> torch.Tensor:
        raise ArithmeticError

    monkeypatch.setattr(F, "linear", broken)
    monkeypatch.setattr(torch, "addmm", broken)
    with pytest.raises(ArithmeticError):
        linear(torch.ones(2, 3), torch.ones(4, 3))
    with pytest.raises(ArithmeticError):
        multiply(torch.ones(2, 3), torch.ones(3, 4), torch.ones(2, 4))
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(("off", "faster", "wanted"), [(0.0, True, True), (1e-3, True, False), (0.0, False, False)])
def test_it_must_be_faster_and_the_same(off: float, faster: bool, wanted: bool) -> None:
    trials: list[str] = []

    def trial() -> torch.Tensor:
        trials.append(torch.get_float32_matmul_precision())
        medium = trials[-1] == "medium"
        time.sleep(0.002 if medium == faster else 0.01)
        return torch.ones(3) + off * medium

    assert products.onednn_wins(trial, 1) is wanted
    assert set(trials) == {"highest", "medium"}
    n = len(trials)
    assert products.onednn_wins(trial, 1) is wanted
    assert len(trials) == n, "a trial is held once"


def test_a_trial_that_fails_leaves_nothing_changed() -> None:
    def broken() -> torch.Tensor:
        if torch.get_float32_matmul_precision() == "medium":
            raise ArithmeticError
        return torch.ones(1)

    with pytest.raises(ArithmeticError):
        products.onednn_wins(broken, 1)
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(7,), (1, 7), (5, 7), (3, 5, 7), (0, 7)])
def test_a_linear_map_is_pytorchs(wins: bool, shape: tuple[int, ...], bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, b = (torch.randn(*size, generator=generator) for size in (shape, (4, 7), (4,)))
    wanted = F.linear(x.double(), weight.double(), b.double() if bias else None)
    found = linear(x, weight, b if bias else None)
    assert found.shape == wanted.shape
    assert torch.allclose(found.double(), wanted, atol=1e-5)


@pytest.mark.parametrize("rows", [1, ROUNDED, ROUNDED + 3])
@pytest.mark.parametrize("more", [0, ROUNDED])
@pytest.mark.parametrize("add", [False, True])
def test_either_way_gives_the_product_and_what_lies_behind_it_does_not_matter(
    wins: bool, rows: int, more: int, add: bool
) -> None:
    generator = torch.Generator().manual_seed(rows)
    right = torch.randn(8, 5, generator=generator)
    lefts, outs = (torch.full((rows + more, n), torch.nan) for n in (8, 5))
    left, out = lefts[:rows].normal_(generator=generator), outs[:rows].normal_(generator=generator)
    wanted = left @ right + (out if add else 0)
    multiply(left, right, out, add=add)
    assert (out - wanted).abs().max() <= 1e-5
