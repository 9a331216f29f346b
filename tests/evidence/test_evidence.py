"""What is known, summed up: counts, shares of influence, and how predictions and effects go together."""

import numpy as np
import pytest

from micrographia.evidence.claims import Claim
from micrographia.evidence.evidence import Evidence, Measured
from micrographia.graph.nodes import NodeId

TARGET = NodeId.parse("target.0")
NEAR = tuple(np.linspace(-1, 1, 99).tolist())


def known(*effects: float | None, totals: tuple[float, ...] | None = None, influence: float = 0.1) -> Evidence:
    claims = tuple(
        Claim(f"{i}.0@0", (NodeId.parse(f"{i}.0@0"),), TARGET, total / 2, total, influence)
        for i, total in enumerate(totals or (3.0,) * len(effects))
    )
    measured = {
        claim.name: Measured(effect, 0.5, NEAR, 0.1)
        for claim, effect in zip(claims, effects, strict=True)
        if effect is not None
    }
    return Evidence(TARGET, "t5", 1.0, 0.7, claims, measured)


def test_counts_and_shares_are_by_verdict_and_what_is_no_claim_is_untested() -> None:
    found = known(5.0, 6.0, -5.0, 0.1, None)
    assert found.counts == {"confirmed": 2, "refuted": 2, "untested": 1}
    assert found.shares == pytest.approx({"confirmed": 0.2, "refuted": 0.2, "untested": 0.6})
    assert repr(found) == "<Evidence on t5: 2 confirmed, 2 refuted, 1 untested>"
    assert [one.measured is None for one in found.tested] == [False] * 4 + [True]


def test_agreement_is_that_of_totals_or_of_direct_edges_with_effects() -> None:
    totals, effects = (4.0, -2.0, 1.0, 3.0), (2.0, -1.0, 0.5, -1.5)
    found = known(*effects, totals=totals).agreement()
    assert found.n == 4
    assert found.signs == 0.75
    assert found.pearson == pytest.approx(float(np.corrcoef(totals, effects)[0, 1]))
    ranks = [3, 0, 1, 2], [3, 1, 2, 0]
    assert found.spearman == pytest.approx(float(np.corrcoef(*ranks)[0, 1]))
    assert found.slope == pytest.approx(np.dot(totals, effects) / np.dot(totals, totals))
    direct = known(*effects, totals=totals).agreement(direct=True)
    assert direct.slope == pytest.approx(2 * found.slope)
    assert direct.pearson == pytest.approx(found.pearson)


def test_ties_share_a_rank_and_what_does_not_vary_does_not_agree() -> None:
    found = known(1.0, 1.0, 2.0, 0.0, totals=(1.0, 1.0, 5.0, 0.5)).agreement()
    assert found.spearman == pytest.approx(1.0)
    assert known(1.0, 2.0, 3.0, totals=(1.0, 1.0, 1.0)).agreement().pearson == 0.0
    assert known(1.0, 2.0).agreement() is None
