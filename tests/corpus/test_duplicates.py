import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from micrographia.corpus import duplicates
from micrographia.corpus.duplicates import N_BANDS, Hashes, bands


def some_ids(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 50_000, n).astype(np.uint16)


def alike(first: np.ndarray, second: np.ndarray) -> bool:
    return bool(set(bands(first).tolist()) & set(bands(second).tolist()))


def test_a_document_with_a_few_words_changed_is_recognised_and_another_is_not() -> None:
    recognised = 0
    for seed in range(50):
        ids = some_ids(seed, 2000)
        changed = ids.copy()
        changed[[100, 900, 1700]] = 7
        recognised += alike(ids, changed)
        assert not alike(ids, some_ids(seed + 1000, 2000))
    assert recognised >= 45


def test_documents_that_share_half_are_not_taken_for_the_same() -> None:
    shared = 0
    for seed in range(50):
        ids, other = some_ids(seed, 2000), some_ids(seed + 500, 2000)
        other[:1000] = ids[:1000]
        shared += alike(ids, other)
    assert shared <= 3


def test_the_width_of_the_ids_does_not_matter_and_short_documents_say_nothing() -> None:
    ids = some_ids(0, 300)
    assert bands(ids).tolist() == bands(ids.astype(np.uint32)).tolist()
    assert bands(some_ids(0, 49)).tolist() == [0] * N_BANDS


@given(rounds=st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=8), max_size=8))
def test_a_set_of_hashes_is_a_set(rounds: list[list[int]]) -> None:
    hashes, plain = Hashes(), set[int]()
    before, duplicates._RECENT = duplicates._RECENT, 5
    try:
        for values in rounds:
            hashes.add(values)
            plain.update(values)
    finally:
        duplicates._RECENT = before
    assert all(value in hashes for value in plain)
    assert all((value in hashes) == (value in plain) for value in (0, 1, 2**64 - 1, 12345))
