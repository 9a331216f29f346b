"""Claims put to the test: each one's members ablated on the free model, beside its controls, the strongest first."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias, final

from micrographia.errors import CallError, UnsupportedError
from micrographia.evidence.bench import Bench
from micrographia.evidence.claims import Claim, claims_of
from micrographia.evidence.controls import Controls, Densities
from micrographia.evidence.evidence import Evidence, Measured
from micrographia.evidence.interventions import Free
from micrographia.evidence.placing import Placed
from micrographia.evidence.readout import readout_of
from micrographia.evidence.rows import run_rows
from micrographia.evidence.verdicts import ENOUGH, FEWEST, MOST
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind, NodeId
from micrographia.store import Progress, silent

__all__ = ["Experiment", "Keep", "check_origin"]

Keep: TypeAlias = Callable[[Evidence], None]
"""What is done with what is known after each batch of controls: it is written down."""


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
    ) -> None:
        """`known` is what an earlier experiment on the same graph and target left; it is gone on from there."""
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
        self.evidence = Evidence(
            target=claims[0].target,
            name=self.readout.name,
            value=self._clean,
            probability=None if probability is None else float(probability),
            claims=claims,
            measured={} if known is None else dict(known.measured),
            rate=rate if known is None else known.rate,
            seed=seed if known is None else known.seed,
        )

    def run(
        self, seconds: float, *, most: int = MOST, keep: Keep = lambda known: None, progress: Progress = silent
    ) -> Evidence:
        """Test claims for so long, each until it is settled; what is measured is kept as it comes."""
        start = time.perf_counter()
        self._check_budget(seconds)
        claims, longest = self.evidence.claims, 0.0
        for number, claim in enumerate(claims):
            controls = self._controls(claim, most)
            while wanted := self._wanted(claim, controls, most):
                begun = time.perf_counter()
                if begun - start + longest > seconds:
                    return self.evidence
                self._measure(claim, controls, wanted)
                longest = max(longest, time.perf_counter() - begun)
                keep(self.evidence)
            progress("claims", number + 1, len(claims))
        return self.evidence

    def _check_budget(self, seconds: float) -> None:
        """Refuse what is not enough for one claim and its fewest controls."""
        controls = self._controls(self.evidence.claims[0])
        self._effects([controls.step()])  # what the clean run must be read for is read now
        begun = time.perf_counter()
        self._effects([controls.step()])
        needed = (time.perf_counter() - begun) * (1 + FEWEST)
        if needed > seconds:
            raise CallError(
                f"A budget of {seconds:g} s is too small for one claim and its {FEWEST} controls, which take up to "
                f"{needed:.1f} s here: give at least that."
            )

    def _controls(self, claim: Claim, most: int = MOST) -> Controls:
        """Those of a smaller number are the first of a larger one, as far as it is not above the usual."""
        nearest, seed, densities = max(most, MOST), self.evidence.seed, self._densities
        return Controls(self.bench, claim.members, shown=self._shown, nearest=nearest, seed=seed, densities=densities)

    def _wanted(self, claim: Claim, controls: Controls, most: int) -> int:
        """How many more controls a claim needs now; it is settled when enough of them do as much as it does."""
        known = self.evidence.measured.get(claim.name)
        if known is None:
            return min(FEWEST, len(controls))
        reached = sum(claim.sign * control >= claim.sign * known.effect for control in known.controls)
        if reached >= ENOUGH and len(known.controls) >= FEWEST:
            return 0
        return max(min(FEWEST, min(most, len(controls)) - len(known.controls)), 0)

    def _measure(self, claim: Claim, controls: Controls, wanted: int) -> None:
        """Run so many more controls, and the claim itself if it has not been run."""
        begun = time.perf_counter()
        known = self.evidence.measured.get(claim.name)
        first = 0 if known is None else len(known.controls)
        rows = [controls.placed(number) for number in range(first, first + wanted)]
        if known is None:
            (effect, *found), probabilities = self._effects([controls.step(), *rows])
            known = Measured(effect, None if probabilities is None else probabilities[0], (), 0.0)
        else:
            found, _ = self._effects(rows)
        took = known.seconds + time.perf_counter() - begun
        new = replace(known, controls=(*known.controls, *found), seconds=took)
        self.evidence = replace(self.evidence, measured={**self.evidence.measured, claim.name: new})

    def _effects(self, rows: list[Placed]) -> tuple[list[float], list[float] | None]:
        """By how much each changes the target, and its probability afterwards."""
        logits = run_rows(self.bench, rows, Free(), position=self.readout.position).logits
        probabilities = self.readout.probability(logits)
        effects = [float(value) - self._clean for value in self.readout.value(logits)]
        return effects, None if probabilities is None else [float(p) for p in probabilities]


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
