"""What narrow numbers lose, and what they do not."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from micrographia.bases.formats.storage import STORAGES, Storage, restored, rounded, rounding, stored
from tests.bases.formats.samples import per_layer

ROWS = st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3), min_size=1, max_size=4)


def there_and_back(tensor: torch.Tensor, storage: Storage) -> torch.Tensor:
    found = stored("x", tensor, storage)
    return restored(found["x"], found.get("x.scale"))


@given(ROWS)
def test_int8_is_off_by_at_most_half_a_step_of_its_row(rows: list[list[float]]) -> None:
    tensor = torch.tensor(rows)
    step = tensor.abs().amax(-1, keepdim=True) / 127
    back = there_and_back(tensor, "int8")
    assert ((back - tensor).abs() <= step * 0.5001 + 1e-30).all()
    assert torch.equal(there_and_back(back, "int8").sign(), back.sign())


@given(ROWS)
def test_what_is_stored_again_does_not_change(rows: list[list[float]]) -> None:
    for storage in ("fp32", "bf16"):
        once = there_and_back(torch.tensor(rows), storage)
        assert torch.equal(there_and_back(once, storage), once)


@pytest.mark.parametrize("storage", STORAGES)
def test_vectors_and_zeros_stay_what_they_are(storage: Storage) -> None:
    vector = torch.tensor([0.1, 1e-20, 1e20])
    assert torch.equal(there_and_back(vector, storage), vector)
    assert torch.equal(there_and_back(torch.zeros(2, 3), storage), torch.zeros(2, 3))


def test_int8_takes_a_quarter_and_a_scale_for_each_row() -> None:
    found = stored("x", torch.randn(5, 7, 11), "int8")
    assert (found["x"].dtype, found["x.scale"].shape) == (torch.int8, (5, 7, 1))


def test_the_cost_of_rounding_is_its_relative_error() -> None:
    file = per_layer("jumprelu", skip=True)
    assert rounding(file, rounded(file, "fp32")).overall == 0
    found = rounding(file, rounded(file, "int8"))
    lost = whole = 0.0
    for each in file.layers.values():
        for role in ("encoder", "decoder", "skip"):
            lost += float((there_and_back(each.parts[role], "int8") - each.parts[role]).square().sum())
            whole += float(each.parts[role].square().sum())
    assert found.overall == pytest.approx((lost / whole) ** 0.5)
    assert 0 < found.overall < found.worst < 0.02
    assert rounding(file, rounded(file, "bf16")).worst < 2**-8


def test_other_tools_round_vectors_too() -> None:
    file = per_layer()
    bias = file.layers[0].parts["bias"]
    assert torch.equal(rounded(file, "bf16").layers[0].parts["bias"], bias)
    assert torch.equal(rounded(file, "bf16", vectors=True).layers[0].parts["bias"], bias.bfloat16().float())
