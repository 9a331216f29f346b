"""The rules, each against its definition in plain Python."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from micrographia.bases.activation import BatchTopK, JumpRelu, Relu, TopK, activated

ROWS = st.lists(st.lists(st.integers(-5, 5), min_size=6, max_size=6), min_size=1, max_size=4)


def tensor(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@given(ROWS)
def test_relu_keeps_what_is_positive(rows: list[list[int]]) -> None:
    assert activated(Relu(), tensor(rows)).tolist() == [[max(x, 0) for x in row] for row in rows]


@given(ROWS, st.lists(st.integers(-3, 4), min_size=6, max_size=6))
def test_jumprelu_keeps_what_is_above_its_features_threshold(rows: list[list[int]], thresholds: list[int]) -> None:
    found = activated(JumpRelu(torch.tensor(thresholds, dtype=torch.float64)), tensor(rows))
    wanted = [[x if x > t and x > 0 else 0 for x, t in zip(row, thresholds, strict=True)] for row in rows]
    assert found.tolist() == wanted


@given(ROWS, st.integers(1, 8))
def test_topk_keeps_the_largest_positive_values_of_each_row(rows: list[list[int]], k: int) -> None:
    """With ties it keeps k of them, whichever: so values are compared, not places."""
    found = activated(TopK(k), tensor(rows))
    for row, kept in zip(rows, found.tolist(), strict=True):
        assert sorted(x for x in kept if x) == sorted(x for x in sorted(row)[-k:] if x > 0)
        assert all(x in (0, original) for x, original in zip(kept, row, strict=True))


@given(ROWS, st.integers(-2, 4))
def test_batchtopk_reads_out_by_its_threshold_alone(rows: list[list[int]], threshold: int) -> None:
    found = activated(BatchTopK(2, float(threshold)), tensor(rows))
    assert found.tolist() == [[x if x > max(threshold, 0) else 0 for x in row] for row in rows]
    alone = torch.cat([activated(BatchTopK(2, float(threshold)), tensor([row])) for row in rows])
    assert torch.equal(found, alone)
