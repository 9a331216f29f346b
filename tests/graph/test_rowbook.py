"""Columns in pieces are the matrix that they are pieces of."""

import pytest
import torch

from micrographia.errors import WorkError
from micrographia.graph import rowbook
from micrographia.graph.rowbook import Columns, RowBook
from micrographia.graph.writers import Layout, Run

EACH = (3, 5, 4)
"""Features at each of three positions."""


def layout(*, padded: bool) -> Layout:
    """Of a transcoder, with a constant and an error in front and padding behind; or of neurons."""
    if not padded:
        return Layout((Run(0, 3, 4, 0),), (0, 4, 8, 12), None, None, None, once=True)
    runs = (Run(0, 1, 5, 0), Run(1, 3, 7, 5))
    first = torch.tensor([0, 5, 12])
    place = torch.cat([start + 2 + torch.arange(n) for start, n in zip(first.tolist(), EACH, strict=True)])
    return Layout(runs, (0, 5, 12, 19), place, first, first + 1, once=True)


def filled(columns: Columns, whole: torch.Tensor, blocks: list[tuple[int, int]]) -> None:
    """Enter rows in blocks, each of so many that read so many positions; other columns are taken out of `whole`."""
    first = 0
    for count, n_positions in blocks:
        width = columns.layout.ends[n_positions]
        columns.room(first, count, n_positions)[:, :width] = whole[first : first + count, :width]
        whole[first : first + count, width:] = 0
        first += count


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("at_once", [1, 60, 10**6])
def test_pieces_flow_and_fold_as_the_whole_matrix(monkeypatch: pytest.MonkeyPatch, padded: bool, at_once: int) -> None:
    monkeypatch.setattr(rowbook, "_AT_ONCE", at_once)
    lay = layout(padded=padded)
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(20, lay.width, generator=generator, dtype=torch.float64)
    whole[:, 18:] *= not padded  # nothing is written into padding
    columns = Columns(lay, whole)
    filled(columns, whole, [(3, 3), (9, 2), (1, 1), (7, 3)])
    place = torch.arange(lay.width) if lay.place is None else lay.place
    features = whole[:, place]
    parts = torch.rand(20, generator=generator, dtype=torch.float64)
    assert (columns.flow(parts) - parts @ features.abs()).abs().max() <= 1e-12
    chosen = torch.tensor([1, 2, 6, 10])
    folded = columns.fold(chosen, len(place))
    assert torch.equal(folded.rows, torch.arange(20))
    assert torch.equal(folded.kept, features[:, chosen])
    left = features.clone()
    left[:, chosen] = 0
    each = EACH if padded else (4, 4, 4)
    for position, mine in enumerate(left.split(each, 1)):
        assert (folded.signed[:, position] - mine.sum(1)).abs().max() <= 1e-12
        assert (folded.magnitude[:, position] - mine.abs().sum(1)).abs().max() <= 1e-12
    if lay.errors is None:
        assert folded.errors is None
    else:
        assert folded.errors is not None
        assert torch.equal(folded.errors, whole[:, lay.errors])
    assert not columns.flow(parts).any(), "what was folded is given back"


def test_nothing_is_left_to_fold_where_every_feature_is_chosen() -> None:
    lay = layout(padded=False)
    columns = Columns(lay, torch.zeros(1, dtype=torch.float64))
    columns.room(0, 2, 3)[:] = torch.ones(2, 12, dtype=torch.float64)
    folded = columns.fold(torch.arange(12), 12)
    assert folded.kept.all()
    assert not folded.signed.any()
    assert not folded.magnitude.any()


def test_columns_beyond_the_limit_are_refused() -> None:
    book = RowBook((layout(padded=True),) * 2, torch.zeros(1), limit=19 * 4 * 100)
    for _ in range(2):
        book.room(0, 0, 50, 3)
    with pytest.raises(WorkError, match="higher than was foreseen"):
        book.room(1, 0, 1, 3)
    book.fold(0, torch.arange(0), 12)
    assert book.room(1, 0, 99, 3).shape == (99, 19)
