"""From measured effects to verdicts.

A claim is *confirmed* if the answer moves the way it says, by more than the middle 95 % of its controls, and beyond
what chance explains among all claims of its family. It is *refuted* if the answer moves the other way, or no further
than controls do. It stays *untested* without enough controls, and where it is beyond its own controls but not beyond
chance among so many claims.

The family is chosen before anything is measured, so that what is found cannot choose it: what of it was not tried has
a p-value of 1. Of what is confirmed, at most `rate` is false: the rule of Benjamini and Hochberg, with the share of
claims that are no better than their controls estimated from the p-values above one half (Storey).

The p-value is the one of sequential Monte Carlo tests (Besag and Clifford 1991): controls are drawn until `ENOUGH` of
them move the answer as far as the claim does, at draw l, which gives `ENOUGH / l`; if that never happens among n, it is
(g + 1) / (n + 1) with the g that do. A claim that is no better than its controls is settled early, and the others get
more controls; under the null it is at most α with a probability of at most α.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from micrographia.atlas import discoveries

__all__ = ["ENOUGH", "FAMILY", "FEWEST", "MOST", "Judgement", "Verdict", "band", "judge", "p_value", "passing"]

Verdict: TypeAlias = Literal["confirmed", "refuted", "untested"]

FEWEST = 20
"""Controls without which there is no verdict."""
ENOUGH = 3
"""Controls that do as much as the claim, after which it is settled."""
MOST = 199
"""Controls of one claim, at most: a p-value of .005, which is beyond chance where a tenth of the claims have it."""
FAMILY = 32
"""Claims about the answer that are tested together, if not said otherwise: the strongest ones. Among so many, of which
half are no better than their controls, two that no control reaches are beyond chance."""
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and all it rests on."""

    verdict: Verdict
    why: str
    p: float | None = None
    low: float | None = None
    high: float | None = None


def band(controls: Sequence[float]) -> tuple[float, float]:
    """The middle 95 % of what controls do."""
    low, high = np.quantile(np.asarray(controls, dtype=np.float64), [0.025, 0.975])
    return float(low), float(high)


def p_value(effect: float, controls: Sequence[float], sign: int) -> float:
    """How often controls, given as they were drawn, move the target as far in the predicted direction."""
    reached = np.cumsum(sign * np.asarray(controls, dtype=np.float64) >= sign * effect)
    if len(reached) and reached[-1] >= ENOUGH:
        return ENOUGH / (int(np.searchsorted(reached, ENOUGH)) + 1)
    return (int(reached[-1]) + 1 if len(reached) else 1) / (len(controls) + 1)


def passing(p_values: Sequence[float], rate: float) -> list[bool]:
    """Which of several nulls fall, so that at most `rate` of those that do were true (Storey and others 2004)."""
    p = np.asarray(p_values, dtype=np.float64)
    null = (1 + (p > _HALF).sum()) / ((1 - _HALF) * max(len(p), 1))
    return (discoveries.passing(p, rate / min(float(null), 1.0)) & (p <= _HALF)).tolist()


def judge(
    signs: Sequence[int], effects: Sequence[float | None], controls: Sequence[Sequence[float]], rate: float = 0.05
) -> list[Judgement]:
    """The verdict on each claim of a family: the sign predicted, the effect measured, and those of its controls as
    drawn."""
    tested = [i for i, effect in enumerate(effects) if effect is not None and len(controls[i]) >= FEWEST]
    judged = [Judgement("untested", _missing(effects[i], len(controls[i]))) for i in range(len(effects))]
    p = {i: p_value(_known(effects[i]), controls[i], signs[i]) for i in tested}
    falls = passing([p.get(i, 1.0) for i in range(len(effects))], rate)
    for i in tested:
        effect, (low, high) = _known(effects[i]), band(controls[i])
        if effect * signs[i] <= 0:
            verdict, why = "refuted", "it moves the other way"
        elif low <= effect <= high:
            verdict, why = "refuted", "its controls do as much"
        elif not falls[i]:
            verdict, why = "untested", f"beyond its controls, but not beyond chance among {len(effects)} claims"
        else:
            verdict, why = "confirmed", "as predicted, and beyond its controls"
        judged[i] = Judgement(verdict, why, p[i], low, high)
    return judged


def _missing(effect: float | None, n: int) -> str:
    return "not tried" if effect is None else f"only {n} controls, and {FEWEST} are needed"


def _known(effect: float | None) -> float:
    assert effect is not None, "only what was measured is judged"
    return effect
