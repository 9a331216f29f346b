"""False discoveries stay below the rate that is asked for, and p-values count draws."""

import numpy as np
import pytest

from micrographia.atlas.discoveries import beyond, passing


def test_p_values_count_the_draws_that_reach_as_far() -> None:
    null = np.array([1.0, 2.0, 3.0, 4.0])
    assert beyond(np.array([0.0, 2.0, 2.5, 4.0, 5.0]), null).tolist() == [1.0, 0.8, 0.6, 0.4, 0.2]


def test_the_largest_p_below_its_line_takes_all_smaller_ones_along() -> None:
    assert passing(np.array([[0.04, 0.011], [0.5, 0.024]]), 0.05).tolist() == [[False, True], [False, True]]
    assert passing(np.array([0.01, 0.02, 0.03, 0.04]), 0.05).all()
    assert not passing(np.array([0.02, 0.04, 0.9, 0.9]), 0.03).any()
    assert passing(np.empty(0), 0.05).shape == (0,)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_false_discoveries_stay_below_the_rate(share: float) -> None:
    chance = np.random.default_rng(0)
    rates: list[float] = []
    for _ in range(300):
        true = chance.random(200) < share
        p = np.where(true, chance.random(200) * 1e-4, chance.random(200))
        fallen = passing(p, 0.1)
        rates.append((fallen & ~true).sum() / max(fallen.sum(), 1))
    assert np.mean(rates) <= 0.12
