"""Verdicts: bands, p-values that are valid under the null, and a rate of false discoveries that is kept."""

import numpy as np
import pytest

from micrographia.evidence.verdicts import ENOUGH, FEWEST, band, judge, p_value, passing


def settled(effect: float, draws: np.ndarray, sign: int) -> list[float]:
    """The controls that an experiment would have run: batches of the fewest, until enough do as much."""
    n = FEWEST
    while n < len(draws) and (sign * draws[:n] >= sign * effect).sum() < ENOUGH:
        n = min(n + FEWEST, len(draws))
    return draws[:n].tolist()


def test_a_band_is_the_middle_95_percent() -> None:
    assert band([float(i) for i in range(101)]) == pytest.approx((2.5, 97.5))
    assert band([1.0] * 20) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("effect", "controls", "sign", "p"),
    [
        (3.0, [0.0] * 19, 1, 1 / 20),
        (-3.0, [0.0] * 99, -1, 1 / 100),
        (3.0, [0.0] * 18 + [4.0], 1, 2 / 20),
        (3.0, [5.0, 0.0, 3.0, 0.0, 9.0, 0.0, 0.0], 1, 3 / 5),
        (-3.0, [5.0, 9.0, 9.0, -1.0], -1, 1 / 5),
        (1.0, [], 1, 1.0),
    ],
)
def test_a_p_value_counts_controls_that_reach_as_far_in_the_order_of_their_drawing(
    effect: float, controls: list[float], sign: int, p: float
) -> None:
    assert p_value(effect, controls, sign) == pytest.approx(p)


def test_under_the_null_a_p_value_is_small_as_rarely_as_it_says() -> None:
    """Also though a claim that looks good gets more controls than others."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        effect, *draws = random.standard_t(3, 100)
        found.append(p_value(effect, settled(effect, np.array(draws), 1), 1))
    for level in (0.01, 0.02, 0.05, 0.1, 0.3):
        share = float((np.array(found) <= level).mean())
        assert share <= level + 3 * (level / 4000) ** 0.5
    assert np.mean(np.array(found) <= 0.05) > 0.03, "and not much more rarely"


def test_benjamini_and_hochberg_with_the_share_of_nulls_that_the_p_values_show() -> None:
    high = [0.6, 0.7, 0.8, 0.9]
    assert passing([0.01, 0.02, 0.03, 0.04, *high], 0.05) == [False] * 8, "by (1 + 4) / 4 of them: all are null"
    assert passing([0.005, 0.02, 0.03, 0.04, *high], 0.05) == [True, *[False] * 7]
    assert passing([0.01, 0.04, 0.03, 0.5], 0.05) == [True, True, True, False], "one half at most: ranks count twice"
    assert passing([0.2, 0.3], 0.05) == [False, False]
    assert passing([], 0.05) == []
    assert passing([0.04, 0.045, 0.05], 0.05) == [True, True, True], "the last one lifts the others"
    assert passing([0.02, *[1.0] * 3], 0.05) == [False] * 4, "what was not tried counts"


@pytest.mark.parametrize("true", [0, 3, 12, 24])
def test_the_rate_holds_whatever_the_share_of_true_claims_and_however_heavy_the_tails(true: int) -> None:
    random = np.random.default_rng(true)
    false = []
    for _ in range(300):
        effects = np.concatenate([random.standard_t(3, true) + 6.0, random.standard_t(3, 24 - true)])
        p = [p_value(effect, settled(effect, random.standard_t(3, 199), 1), 1) for effect in effects]
        found = np.array(passing(p, 0.1))
        false.append(found[true:].sum() / max(found.sum(), 1))
    assert np.mean(false) <= 0.1 + 2 * np.std(false) / 300**0.5


def test_of_what_is_confirmed_no_more_is_false_than_the_rate_allows() -> None:
    """Half of the claims are null: their effect is one more draw of their controls."""
    random = np.random.default_rng(1)
    false, power = [], []
    for _ in range(150):
        truth = random.random(16) < 0.5
        effects = np.where(truth, random.normal(4.0, 1.0, 16), random.standard_normal(16))
        controls = [settled(effect, random.standard_normal(99), 1) for effect in effects]
        judged = judge([1] * 16, effects.tolist(), controls, rate=0.1)
        confirmed = np.array([one.verdict == "confirmed" for one in judged])
        false.append((confirmed & ~truth).sum() / max(confirmed.sum(), 1))
        power.append((confirmed & truth).sum() / max(truth.sum(), 1))
    assert np.mean(false) <= 0.1
    assert np.mean(power) > 0.8


def test_each_verdict_says_what_it_rests_on() -> None:
    near = list(np.linspace(-1, 1, 99))
    judged = judge(
        [1, 1, -1, 1, 1, -1],
        [5.0, -5.0, -0.2, None, 4.0, -6.0],
        [near, near, near, (), near[:19], near],
    )
    assert [one.verdict for one in judged] == [
        "confirmed",
        "refuted",
        "refuted",
        "untested",
        "untested",
        "confirmed",
    ]
    assert judged[1].why == "it moves the other way"
    assert judged[2].why == "its controls do as much"
    assert judged[3].why == "not tried"
    assert judged[4].why == "only 19 controls, and 20 are needed"
    assert (judged[3].p, judged[3].low) == (None, None)
    assert judged[0].p == pytest.approx(0.01)
    assert judged[0].low == pytest.approx(-0.95)


def test_beyond_its_controls_and_not_beyond_chance_is_not_decided() -> None:
    """One claim in forty with a p-value of .01."""
    near = np.random.default_rng(0).permutation(np.linspace(-1, 1, 99)).tolist()
    judged = judge([1] * 40, [5.0, *[-0.9] * 39], [near] * 40)
    assert judged[0].verdict == "untested"
    assert judged[0].why == "beyond its controls, but not beyond chance among 40 claims"
    assert all(one.verdict == "refuted" for one in judged[1:])


def test_claims_of_the_family_that_were_not_tried_count() -> None:
    near = np.random.default_rng(0).permutation(np.linspace(-1, 1, 99)).tolist()
    [alone] = judge([1], [5.0], [near])
    assert alone.verdict == "confirmed"
    first, *others = judge([1] * 40, [5.0, *[None] * 39], [near, *[()] * 39])
    assert (first.verdict, first.why) == ("untested", "beyond its controls, but not beyond chance among 40 claims")
    assert {one.why for one in others} == {"not tried"}
