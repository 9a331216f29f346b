"""Claims put to the test: each one's members ablated, beside its controls, the strongest and most uncertain first.

Which claims are tested is said before: the strongest ones about the answer, and then those about the inside.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

from jaxtyping import Float
from torch import Tensor

from micrographia.errors import CallError, UnsupportedError
from micrographia.evidence.bench import Bench
from micrographia.evidence.claims import Claim, claims_of
from micrographia.evidence.controls import Controls, Densities
from micrographia.evidence.evidence import Evidence, Measured
from micrographia.evidence.interventions import Constrained, Free, Mode
from micrographia.evidence.links import links_of, weights_of
from micrographia.evidence.placing import Placed
from micrographia.evidence.readout import FeatureReadout, readout_of
from micrographia.evidence.rows import run_rows
from micrographia.evidence.verdicts import ENOUGH, FAMILY, FEWEST, MOST
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind, NodeId
from micrographia.store import Progress, silent

__all__ = ["Experiment", "Keep", "check_origin"]

Keep: TypeAlias = Callable[[Evidence], None]
"""What is done with what is known after each batch of controls: it is written down."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """Claims with the same members, held alike: one intervention and one set of controls serve them all."""

    members: tuple[NodeId, ...]
    mode: Mode
    claims: tuple[Claim, ...]


@final
class Experiment:
    """The claims of one graph, on one bench."""

    def __init__(
        self,
        bench: Bench,
        graph: Graph,
        *,
        target: NodeId | str | None = None,
        known: Evidence | None = None,
        seed: int = 0,
        rate: float = 0.05,
        densities: Densities | None = None,
        family: int | None = None,
        inside: bool = True,
    ) -> None:
        """`known` is what an earlier experiment on the same graph and target left; it is gone on from there. `family`
        is how many claims about the answer are tested, the strongest ones; with `inside`, those between groups and
        along edges are tested after them."""
        check_origin(bench, graph)
        claims = claims_of(graph, target)
        if not claims:
            raise CallError("This graph shows no feature of the prompt, so there is no claim to test.")
        self.bench = bench
        self._shown = [node for node in graph.nodes if node.kind == Kind.FEATURE]
        self._densities = densities
        self.readout = readout_of(graph, claims[0].target, bench.model)
        logits = bench.logits()[self.readout.position][None]
        probability = self.readout.probability(logits)
        self._clean = float(self.readout.value(logits))
        links = links_of(graph, claims)
        self.evidence = Evidence(
            target=claims[0].target,
            name=self.readout.name,
            value=self._clean,
            probability=None if probability is None else float(probability),
            claims=claims,
            measured={} if known is None else dict(known.measured),
            rate=rate if known is None else known.rate,
            seed=seed if known is None else known.seed,
            links=links,
            family=_family(known, family),
        )
        self._reads = {
            claim.key: FeatureReadout(
                claim.reads, tuple(weights_of(graph, [graph.nodes.find(node) for node in claim.reads]).tolist())
            )
            for claim in links
        }
        self._trials = _trials((*claims[: self.evidence.family], *(links if inside else ())))
        self._strength = _strengths((*claims, *links))
        self._made: dict[_Trial, Controls] = {}

    def run(
        self, seconds: float, *, most: int = MOST, keep: Keep = lambda known: None, progress: Progress = silent
    ) -> Evidence:
        """Test claims for so long, the strongest and most uncertain first, until all are settled; what is measured is
        kept as it comes. Those about the inside are tested when those about the answer are settled, as far as it is
        not the same intervention that tests them."""
        start, longest = time.perf_counter(), 0.0
        self._check_budget(seconds)
        while waiting := [trial for trial in self._trials if self._open(trial, most)]:
            begun = time.perf_counter()
            if begun - start + longest > seconds:
                break
            progress("claims", len(self._trials) - len(waiting), len(self._trials))
            self._measure(max(waiting, key=lambda trial: self._urgency(trial, most)), most)
            longest = max(longest, time.perf_counter() - begun)
            keep(self.evidence)
        return self.evidence

    def _check_budget(self, seconds: float) -> None:
        """Refuse what is not enough for one claim and its fewest controls."""
        trial = self._trials[0]
        controls = self._controls(trial, MOST)
        self._effects(trial, [controls.step()])  # what the clean run must be read for is read now
        begun = time.perf_counter()
        self._effects(trial, [controls.step()])
        needed = (time.perf_counter() - begun) * (1 + FEWEST)
        if needed > seconds:
            raise CallError(
                f"A budget of {seconds:g} s is too small for one claim and its {FEWEST} controls, which take up to "
                f"{needed:.1f} s here: give at least that."
            )

    def _controls(self, trial: _Trial, most: int) -> Controls:
        """Those of a smaller number are the first of a larger one, as far as it is not above the usual."""
        if trial not in self._made:
            self._made[trial] = Controls(
                self.bench,
                trial.members,
                shown=self._shown,
                nearest=max(most, MOST),
                seed=self.evidence.seed,
                densities=self._densities,
                everywhere=isinstance(trial.mode, Constrained),
            )
        return self._made[trial]

    # ------------------------------------------------------------ what is tested next

    def _open(self, trial: _Trial, most: int) -> list[Claim]:
        """The claims that need more controls."""
        found = [claim for claim in trial.claims if self._count(claim) < most and not self._settled(claim)]
        if not found:
            return found
        there = min(most, len(self._controls(trial, most)))
        return [claim for claim in found if claim.key not in self.evidence.measured or self._count(claim) < there]

    def _count(self, claim: Claim) -> int:
        known = self.evidence.measured.get(claim.key)
        return 0 if known is None else len(known.controls)

    def _reached(self, claim: Claim) -> int:
        """How many controls do as much as the claim."""
        known = self.evidence.measured.get(claim.key)
        return 0 if known is None else sum(claim.sign * one >= claim.sign * known.effect for one in known.controls)

    def _settled(self, claim: Claim) -> bool:
        return self._count(claim) >= FEWEST and self._reached(claim) >= ENOUGH

    def _urgency(self, trial: _Trial, most: int) -> tuple[bool, float]:
        """Claims about the answer come first. Then the strength of a claim times how uncertain its p-value still is:
        the standard deviation of a proportion of which so many of so many were seen. Of several the most urgent."""
        found = (False, 0.0)
        for claim in self._open(trial, most):
            n, reached = self._count(claim), self._reached(claim)
            doubt = math.sqrt((reached + 1) * (n - reached + 1) / ((n + 2) ** 2 * (n + 3)))
            found = max(found, (claim.kind == "answer", self._strength[claim.key] * doubt))
        return found

    # ------------------------------------------------------------ one batch

    def _measure(self, trial: _Trial, most: int) -> None:
        """Run some more controls for the claims that need them, and the claim itself if it has not been run."""
        begun = time.perf_counter()
        controls, claims = self._controls(trial, most), self._open(trial, most)
        first = min(map(self._count, claims))
        last = min(first + FEWEST, most, len(controls))
        rows = [controls.step(), *(controls.placed(number) for number in range(first, last))]
        effects, probabilities = self._effects(trial, rows, claims)
        took = (time.perf_counter() - begun) / len(claims)
        measured = dict(self.evidence.measured)
        for claim in claims:
            effect, *found = effects[claim.key]
            known = measured.get(claim.key)
            if known is None:
                likely = probabilities[0] if probabilities is not None and claim.kind == "answer" else None
                known = Measured(effect, likely, (), 0.0)
            more = found[len(known.controls) - first :]
            measured[claim.key] = replace(known, controls=(*known.controls, *more), seconds=known.seconds + took)
        self.evidence = replace(self.evidence, measured=measured)

    def _effects(
        self, trial: _Trial, rows: list[Placed], claims: Sequence[Claim] | None = None
    ) -> tuple[dict[str, list[float]], list[float] | None]:
        """By how much each row changes what each claim is about, and the target's probability afterwards."""
        claims = trial.claims if claims is None else claims
        reads = {claim.key: self._reads[claim.key] for claim in claims if claim.kind != "answer"}
        layers = set[int]().union(*(read.layers for read in reads.values()))
        outcome = run_rows(self.bench, rows, trial.mode, position=self.readout.position, read=layers)
        probabilities = self.readout.probability(outcome.logits)
        answer = [value - self._clean for value in _listed(self.readout.value(outcome.logits))]
        found = {claim.key: answer for claim in claims if claim.kind == "answer"}
        found |= {key: _listed(read.gain(self.bench, outcome)) for key, read in reads.items()}
        return found, None if probabilities is None else _listed(probabilities)


def _listed(values: Float[Tensor, " row"]) -> list[float]:
    return [float(value) for value in values]


def _family(known: Evidence | None, wanted: int | None) -> int:
    """How many claims are tested. It can grow; to drop claims whose tests are known would choose by what was found."""
    before = 0 if known is None else known.family
    if wanted is not None and wanted < before:
        raise CallError(
            f"The {before} strongest claims were chosen to be tested, and some have been: {wanted} of them cannot be "
            f"chosen now. Ask for {before} or more, or begin anew."
        )
    return wanted or before or FAMILY


def _trials(claims: Sequence[Claim]) -> tuple[_Trial, ...]:
    """Claims put together by what is done to the model."""
    found: dict[tuple[tuple[NodeId, ...], bool], list[Claim]] = {}
    for claim in claims:
        found.setdefault((claim.members, claim.kind == "direct"), []).append(claim)
    return tuple(
        _Trial(members, Constrained() if held else Free(), tuple(several)) for (members, held), several in found.items()
    )


def _strengths(claims: Sequence[Claim]) -> dict[str, float]:
    """What is predicted, over the largest prediction of the same kind."""
    largest: dict[str, float] = {}
    for claim in claims:
        largest[claim.kind] = max(largest.get(claim.kind, 0.0), abs(claim.predicted))
    return {claim.key: abs(claim.predicted) / (largest[claim.kind] or 1.0) for claim in claims}


def check_origin(bench: Bench, graph: Graph) -> None:
    """Refuse a graph that was traced in another model, another basis, or on another prompt."""
    facts = graph.facts
    if facts is None:
        raise UnsupportedError(
            "This graph does not say which model and basis it was traced in, so its claims cannot be tested."
        )
    model, basis = bench.fingerprints()
    if facts.model_fingerprint != model:
        raise CallError(
            f"This graph was traced in {facts.model} with other weights or in another dtype ({facts.dtype}) than "
            f"{bench.model.name} has here. Open the model that it was traced in."
        )
    if facts.basis_fingerprint != basis:
        raise CallError(
            f"This graph was traced in another basis ({facts.basis}) than the {type(bench.basis).__name__} that is "
            "open. Give the one that it was traced in: --basis FOLDER, or mg.open(basis=...)."
        )
    if graph.prompt.ids != bench.prompt.ids:
        raise CallError("This graph is of another prompt than the one that is open.")
