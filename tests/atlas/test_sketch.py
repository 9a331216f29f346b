"""A sketch of parts put together is the sketch of the whole, and survives being written down."""

import numpy as np
import pytest

from micrographia.atlas.sketch import Active, Rows, Shape, Sketch
from micrographia.atlas.strength import N_BINS, amounts, bins, squares

SHAPE = Shape(strongest=3, sample=5, span=2)
FEATURES = 6


def block(number: int, size: int = 50) -> tuple[Active, Rows]:
    chance = np.random.default_rng(number)
    rows = Rows(
        np.arange(number * size, (number + 1) * size, dtype=np.uint32),
        np.random.default_rng(99).integers(0, 2**63, 30, dtype=np.uint64)[chance.integers(0, 30, size)],
    )
    row = np.repeat(np.arange(size), 2)
    first = chance.integers(0, FEATURES, size)
    feature = np.stack([first, (first + chance.integers(1, FEATURES, size)) % FEATURES], axis=1).ravel()
    code = chance.integers(0x3000, 0x4400, 2 * size).astype(np.uint16)

    def near(some: np.ndarray, its: np.ndarray) -> np.ndarray:
        return np.stack([some % 251 + 1, its + 1], axis=1).astype(np.uint8)

    return Active(row, feature, code, near, chance.random(2 * size) < 0.3), rows


def sketch(*numbers: int) -> Sketch:
    found = Sketch(FEATURES, SHAPE)
    for number in numbers:
        found.add(*block(number))
    return found


def same(one: Sketch, two: Sketch) -> bool:
    first, second = one.arrays(), two.arrays()
    return first.keys() == second.keys() and all(
        np.array_equal(first[key], second[key]) and first[key].dtype == second[key].dtype for key in first
    )


def test_counts_and_sums_are_those_of_a_loop() -> None:
    active, _ = block(0)
    found = sketch(0)
    for feature in range(FEATURES):
        mine = active.feature == feature
        assert found.total[feature] == sum(map(int, amounts(active.code[mine])))
        assert found.square[feature] == sum(map(int, squares(active.code[mine])))
        assert found.negative[feature] == sum(active.negative[mine].tolist())
        counted = [int((bins(active.code[mine]) == b).sum()) for b in range(N_BINS)]
        assert found.histogram[feature].tolist() == counted


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
def test_order_and_partition_do_not_matter(order: tuple[int, ...]) -> None:
    whole = sketch(0, 1, 2, 3)
    assert same(sketch(*order), whole)
    left, right = sketch(*order[:1]), sketch(*order[1:])
    left.merge(right)
    assert same(left, whole)
    assert not same(sketch(0, 1, 2), whole)


def test_it_goes_on_from_what_was_written_down() -> None:
    found = Sketch.restored({key: array.copy() for key, array in sketch(1, 0).arrays().items()}, SHAPE)
    for number in (3, 2):
        found.add(*block(number))
    assert same(found, sketch(0, 1, 2, 3))


def test_padded_arrays_have_one_row_per_feature_and_nothing_else() -> None:
    found = sketch(0, 1)
    held = found.bests["random"].held()
    padded = found.padded("random")
    assert {key: array.shape for key, array in padded.items()} == {"code": (6, 5), "place": (6, 5), "near": (6, 5, 2)}
    for feature in range(FEATURES):
        mine = held.feature == feature
        n = int(mine.sum())
        assert padded["place"][feature, :n].tolist() == held.place[mine].tolist()
        assert not padded["code"][feature, n:].any()
        assert padded["code"][feature, :n].all()
