"""What is kept is what sorting everything would keep, in whatever parts and order it comes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrographia.atlas.best import Best, Entries, Order, chosen
from tests.atlas.small import slow_best, some_entries

ORDERS = st.sampled_from(["strongest", "random"])


def rows(entries: Entries) -> list[tuple[int, int, int]]:
    return list(zip(entries.feature.tolist(), entries.code.tolist(), entries.place.tolist(), strict=True))


@given(order=ORDERS, n=st.integers(1, 6), size=st.integers(0, 300), seed=st.integers(0, 1000))
def test_it_is_what_sorting_everything_keeps(order: Order, n: int, size: int, seed: int) -> None:
    entries = some_entries(size, features=7, seed=seed)
    picked = chosen(order, n, 7, entries.feature, entries.code, entries.context, entries.place)
    assert rows(entries.rows(picked)) == slow_best(entries, order, n)


@given(order=ORDERS, seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 200), max_size=6), shuffle=st.booleans())
def test_parts_in_any_order_keep_the_same(order: Order, seed: int, cuts: list[int], shuffle: bool) -> None:
    entries = some_entries(200, features=5, seed=seed)
    mixed = entries.rows(np.random.default_rng(seed).permutation(200)) if shuffle else entries
    parts = [mixed.rows(part) for part in np.split(np.arange(200), sorted(cuts))]
    bests = [Best(order, 5, 4, 3) for _ in range(2)]
    for number, part in enumerate(parts):
        best = bests[number % 2]
        values = part.code if order == "strongest" else part.context
        best.add(part.rows(best.passing(part.feature, values)))
    bests[0].add(bests[1].held())
    whole = bests[0].held()
    assert rows(whole) == slow_best(entries, order, 4)
    by_place = {int(place): near for place, near in zip(entries.place, entries.near.tolist(), strict=True)}
    assert [by_place[int(place)] for place in whole.place] == whole.near.tolist()


@pytest.mark.parametrize("order", ["strongest", "random"])
def test_the_bound_only_lets_pass_what_may_matter(order: Order) -> None:
    entries = some_entries(4000, features=3, seed=1, contexts=500)
    best = Best(order, 3, 4, 3)
    best.add(entries)
    best.held()
    values = entries.code if order == "strongest" else entries.context
    passing = entries.rows(best.passing(entries.feature, values))
    assert 0 < len(passing) < 1500
    assert set(slow_best(entries, order, 4)) <= set(rows(passing))


def test_features_beyond_sixteen_bits_are_told_apart() -> None:
    feature = np.array([70_000, 4464, 70_000, 4464], dtype=np.int64)
    code, place = np.full(4, 900, np.uint16), np.arange(4, dtype=np.uint32)
    picked = chosen("random", 1, 1 << 17, feature, code, np.array([5, 6, 4, 7], np.uint64), place)
    assert picked.tolist() == [1, 2]
