"""Batches, against what the same rows are in plain Python."""

from typing import Literal

import torch
from hypothesis import given
from hypothesis import strategies as st

from micrographia.ids import TokenId
from micrographia.model.batch import Batch

PAD = TokenId(0)
ROWS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=4)
SIDE: st.SearchStrategy[Literal["left", "right"]] = st.sampled_from(("left", "right"))


def told(batch: Batch) -> list[dict[int, int]]:
    """What a batch says of each row: the token at each position, of real tokens alone."""
    real = torch.ones_like(batch.ids, dtype=torch.bool) if batch.real is None else batch.real
    rows: list[dict[int, int]] = []
    for ids, positions, flags in zip(batch.ids.tolist(), batch.positions.tolist(), real.tolist(), strict=True):
        placed = [(place, token) for place, token, flag in zip(positions, ids, flags, strict=True) if flag]
        assert len(dict(placed)) == len(placed), "two tokens at one position"
        rows.append(dict(placed))
    return rows


@given(ROWS, SIDE)
def test_rows_are_padded_to_one_length_on_the_side_asked_for(
    rows: list[list[int]], side: Literal["left", "right"]
) -> None:
    batch = Batch.of(rows, pad=PAD, side=side)
    width = max(map(len, rows))
    gaps = [[0] * (width - len(row)) for row in rows]
    assert batch.ids.tolist() == [
        gap + row if side == "left" else row + gap for row, gap in zip(rows, gaps, strict=True)
    ]
    assert batch.lengths.tolist() == [len(row) for row in rows]
    assert (batch.real is None) == (not any(gaps))
    if batch.real is not None:
        assert batch.real.tolist() == [[token != 0 for token in row] for row in batch.ids.tolist()]
    assert batch.n_rows == len(rows)


@given(ROWS, SIDE)
def test_positions_count_each_rows_own_tokens(rows: list[list[int]], side: Literal["left", "right"]) -> None:
    assert told(Batch.of(rows, pad=PAD, side=side)) == [dict(enumerate(row)) for row in rows]


@given(ROWS, SIDE)
def test_the_last_column_holds_the_last_real_token(rows: list[list[int]], side: Literal["left", "right"]) -> None:
    batch = Batch.of(rows, pad=PAD, side=side)
    columns = batch.last_columns()
    width = max(map(len, rows))
    assert columns.tolist() == [width - 1 if side == "left" else len(row) - 1 for row in rows]
    assert batch.ids[torch.arange(len(rows)), columns].tolist() == [row[-1] for row in rows]


@given(ROWS, SIDE, st.data())
def test_tokens_that_follow_go_on_where_each_row_ended(
    rows: list[list[int]], side: Literal["left", "right"], data: st.DataObject
) -> None:
    """With a cache only the new token is run, without one the whole: both count the same way."""
    whole = current = Batch.of(rows, pad=PAD, side=side)
    expected = [dict(enumerate(row)) for row in rows]
    for step in range(3):
        new = data.draw(st.lists(st.integers(1, 9), min_size=len(rows), max_size=len(rows)))
        current = current.followed_by(torch.tensor(new))
        whole = whole.joined(current)
        for row, token, length in zip(expected, new, map(len, rows), strict=True):
            row[length + step] = token
        assert current.ids.tolist() == [[token] for token in new]
        assert current.real is None
        assert told(current) == [{len(row) + step: token} for row, token in zip(rows, new, strict=True)]
    assert told(whole) == expected
    assert whole.lengths.tolist() == current.lengths.tolist() == [len(row) for row in rows]
    assert whole.followed_by(torch.ones(len(rows), dtype=torch.long)).positions[:, 0].tolist() == [
        len(row) + 3 for row in rows
    ]
