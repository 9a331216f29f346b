from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrographia.corpus.shards import Table
from micrographia.corpus.strand import Strand
from micrographia.corpus.windows import Cursor, Windows, WindowsOf, permuted
from micrographia.errors import CallError, WorkError

FRONT = 0


def table(lengths: list[int], first: int) -> Table:
    """Documents of so many tokens each, the front included; every other token is a number of its own."""
    tokens: list[int] = []
    for length in lengths:
        tokens += [FRONT, *range(first + len(tokens) + 1, first + len(tokens) + length)]
    starts = np.cumsum([0, *lengths], dtype=np.int64)[:-1]
    none = np.zeros(len(lengths), dtype=np.uint64)
    ends = np.arange(1, len(lengths) + 1, dtype=np.int64)
    names = np.frombuffer(b"x" * len(lengths), dtype=np.uint8)
    return Table(np.array(tokens, np.uint32), starts, none.astype(np.uint16), none, none, names, ends)


def strand_of(*shards: list[int]) -> Strand:
    first, tables = 0, list[Table]()
    for lengths in shards:
        tables.append(table(lengths, first))
        first += sum(lengths)
    return Strand(tables)


def windows_of(strand: Strand, length: int, *, seed: int | None = 0, packed: bool = True, front: int = 1) -> Windows:
    of = WindowsOf(corpus="c", split="train", length=length, seed=seed, packed=packed)
    return Windows(strand, (FRONT,) * front, of)


SHARDS = st.lists(st.lists(st.integers(2, 30), max_size=5), min_size=1, max_size=4).filter(
    lambda s: sum(map(sum, s)) > 40
)


@given(n=st.integers(1, 300), key=st.integers(0, 2**128 - 1))
def test_an_order_has_each_thing_once(n: int, key: int) -> None:
    assert sorted(permuted(i, n, key) for i in range(n)) == list(range(n))


def test_orders_differ_and_do_not_look_ordered() -> None:
    orders = [[permuted(i, 1000, key) for i in range(1000)] for key in (1, 2**64 + 1, 2**100)]
    assert len({tuple(order) for order in orders}) == 3
    for order in orders:
        assert abs(float(np.corrcoef(order, np.arange(1000))[0, 1])) < 0.1
        assert sum(abs(a - b) == 1 for a, b in pairwise(order)) < 20


@given(shards=SHARDS, length=st.integers(2, 12), seed=st.integers(0, 5) | st.none())
def test_one_packed_pass_reads_every_token_once_but_for_a_rest(
    shards: list[list[int]], length: int, seed: int | None
) -> None:
    strand = strand_of(*shards)
    windows = windows_of(strand, length, seed=seed)
    found: list[int] = []
    for window in windows:
        assert len(window.ids) == length
        assert window.ids[0] == FRONT
        own = window.ids if strand.begins(window.start) else window.ids[1:]
        found += [window.start + i for i in range(length - 1)]
        expected = strand.around(window.start, len(own))
        assert own.tolist() == expected.tolist()
    assert len(found) == len(set(found)) == len(windows) * (length - 1)
    assert strand.n_tokens - len(found) < length - 1


@given(shards=SHARDS, length=st.integers(2, 12), seed=st.integers(0, 5) | st.none())
def test_one_pass_over_documents_reads_every_token_once_and_never_two_documents(
    shards: list[list[int]], length: int, seed: int | None
) -> None:
    strand = strand_of(*shards)
    found: list[int] = []
    for window in windows_of(strand, length, seed=seed, packed=False):
        assert 2 <= len(window.ids) <= length
        assert window.ids.tolist().count(FRONT) == 1 == 1 - window.ids[0]
        begin, end = strand.bounds(strand.document_at(window.start))
        assert begin < window.start < window.start + len(window.ids) - 1 <= end
        found += window.ids[1:].tolist()
    everything = strand.read(0, strand.n_tokens)
    assert sorted(found) == everything[everything != FRONT].tolist()


@given(shards=SHARDS, packed=st.booleans(), stop=st.integers(0, 60), more=st.integers(1, 40))
def test_a_reader_goes_on_where_its_cursor_was_written(
    shards: list[list[int]], packed: bool, stop: int, more: int
) -> None:
    windows = windows_of(strand_of(*shards), 7, packed=packed)
    undisturbed = windows.reader()
    rows = [next(undisturbed).ids.tolist() for _ in range(stop + more)]
    reader = windows.reader()
    for _ in range(stop):
        next(reader)
    written = reader.cursor.model_dump_json()
    again = windows_of(strand_of(*shards), 7, packed=packed).reader(Cursor.model_validate_json(written))
    assert [next(again).ids.tolist() for _ in range(more)] == rows[stop:]
    assert again.cursor == undisturbed.cursor


def test_each_pass_has_an_order_of_its_own_and_cuts_elsewhere() -> None:
    windows = windows_of(strand_of([50, 50], [101]), 11)
    passes = [[windows[n * len(windows) + i].start for i in range(len(windows))] for n in range(3)]
    assert sorted(passes[0]) == list(range(0, 200, 10))
    assert passes[0] != sorted(passes[0])
    assert len({tuple(sorted(starts)) for starts in passes}) == 3
    in_order = windows_of(strand_of([50, 50], [101]), 11, seed=None)
    assert [window.start for window in in_order] == list(range(0, 200, 10))
    assert in_order[20].start == 0


def test_without_a_front_windows_are_the_plain_tokens() -> None:
    windows = windows_of(strand_of([20], [20]), 8, seed=None, front=0)
    assert np.concatenate([window.ids for window in windows]).tolist() == [0, *range(1, 20), 0, *range(21, 40)]


@pytest.mark.parametrize("packed", [True, False])
def test_too_little_text_is_one_sentence(packed: bool) -> None:
    shards = [[3]] if packed else [[]]
    with pytest.raises(
        WorkError, match=r"the train split has \d tokens in \d documents, not enough for one window of 9"
    ):
        windows_of(strand_of(*shards), 9, packed=packed)


def test_a_window_without_room_and_a_negative_index_are_refused() -> None:
    with pytest.raises(CallError, match="A window of 1 has no room for text behind the 1 tokens in front"):
        windows_of(strand_of([9]), 1)
    with pytest.raises(CallError, match="there is no window -1"):
        windows_of(strand_of([9]), 4)[-1]


def test_a_cursor_of_other_windows_is_refused_with_the_difference() -> None:
    cursor = windows_of(strand_of([99]), 8, seed=1).reader().cursor
    with pytest.raises(
        CallError, match=r"other windows: length 8, here 9; seed 1, here None\.|length 8, here 9, seed 1"
    ):
        windows_of(strand_of([99]), 9, seed=None).reader(cursor)


def test_a_cursor_with_a_key_too_many_is_refused(tmp_path: Path) -> None:
    content = windows_of(strand_of([99]), 8).reader().cursor.model_dump()
    with pytest.raises(ValueError, match="colour"):
        Cursor.model_validate(content | {"colour": 1})
