"""What is known about the claims of a graph: predictions, effects, controls, verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from micrographia.evidence.claims import Claim, ClaimKind
from micrographia.evidence.verdicts import FAMILY, Judgement, Verdict, judge
from micrographia.graph.nodes import NodeId

__all__ = ["Agreement", "Evidence", "Measured", "Tested", "correlation", "ranks"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one claim's test."""

    effect: float
    """By how much the target changed, or the part of themselves that other features gained."""
    probability: float | None
    """Of the target's token afterwards; None for a difference of tokens, and for other features."""
    controls: tuple[float, ...]
    """The same change under each control, as they were drawn."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Tested:
    """A claim with all that is known about it."""

    claim: Claim
    measured: Measured | None
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Agreement:
    """How predictions and effects go together, over the claims that were tried."""

    n: int
    signs: float
    """The share of claims whose sign is right."""
    pearson: float
    spearman: float
    slope: float
    """Of the effect on the prediction, through the origin: 1 is as predicted."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """All claims about one target of a graph, the strongest first, and what was measured so far."""

    target: NodeId
    name: str
    """The target's, as people read it."""
    value: float
    """Of the target in the clean run."""
    probability: float | None
    claims: tuple[Claim, ...]
    measured: Mapping[str, Measured]
    """By the claim's key."""
    rate: float = 0.05
    """Of the claims confirmed, so many may be so by chance, of each kind."""
    seed: int = 0
    links: tuple[Claim, ...] = ()
    """Claims about the inside: between groups and along edges."""
    family: int = FAMILY
    """How many of the claims about the answer are tested, and judged among each other."""

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {verdict}" for verdict, n in self.counts.items())
        return f"<Evidence on {self.name}: {counts}>"

    @cached_property
    def tested(self) -> tuple[Tested, ...]:
        """Every claim about the answer, with its verdict."""
        chosen, others = self.claims[: self.family], self.claims[self.family :]
        weaker = Judgement("untested", f"not among the {len(chosen)} strongest, which are tested")
        return (*self._judged(chosen), *(Tested(claim, None, weaker) for claim in others))

    @property
    def tried(self) -> tuple[Tested, ...]:
        """Those about the answer that were measured, whatever came of it."""
        return tuple(one for one in self.tested if one.measured is not None)

    @cached_property
    def inside(self) -> tuple[Tested, ...]:
        """Every claim about the inside, with its verdict among those of its kind."""
        kinds: tuple[ClaimKind, ...] = ("group", "paths", "direct")
        return tuple(one for kind in kinds for one in self._judged([c for c in self.links if c.kind == kind]))

    def of(self, kind: ClaimKind) -> tuple[Tested, ...]:
        """Those of one kind."""
        return self.tested if kind == "answer" else tuple(one for one in self.inside if one.claim.kind == kind)

    def _judged(self, claims: Sequence[Claim]) -> tuple[Tested, ...]:
        found = [self.measured.get(claim.key) for claim in claims]
        judged = judge(
            [claim.sign for claim in claims],
            [None if one is None else one.effect for one in found],
            [() if one is None else one.controls for one in found],
            self.rate,
        )
        return tuple(map(Tested, claims, found, judged))

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many claims about the answer there are of each verdict."""
        return self.counted("answer")

    def counted(self, kind: ClaimKind) -> dict[Verdict, int]:
        """How many of a kind there are of each verdict."""
        verdicts = [one.judgement.verdict for one in self.of(kind)]
        return {verdict: verdicts.count(verdict) for verdict in ("confirmed", "refuted", "untested")}

    @property
    def shares(self) -> dict[Verdict, float]:
        """Of the influence of all features that are shown; what is no claim is untested."""
        found: dict[Verdict, float] = dict.fromkeys(("confirmed", "refuted", "untested"), 0.0)
        for one in self.tested:
            found[one.judgement.verdict] += one.claim.influence
        found["untested"] += 1.0 - sum(found.values())
        return found

    def agreement(self, kind: ClaimKind = "answer", *, direct: bool = False) -> Agreement | None:
        """Predicted against measured, by all paths or by direct edges only; None for fewer than three claims."""
        pairs = [
            (one.claim.direct if direct else one.claim.predicted, one.measured.effect)
            for one in self.of(kind)
            if one.measured is not None
        ]
        return _agreement(*zip(*pairs, strict=True)) if len(pairs) >= 3 else None


def _agreement(predicted: Sequence[float], measured: Sequence[float]) -> Agreement:
    x, y = np.asarray(predicted), np.asarray(measured)
    return Agreement(
        n=len(x),
        signs=float((np.sign(x) == np.sign(y)).mean()),
        pearson=correlation(x, y),
        spearman=correlation(ranks(x), ranks(y)),
        slope=float(x @ y / (x @ x)) if x.any() else 0.0,
    )


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """0 where one of them does not vary."""
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """Ties share their mean rank."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[which]
