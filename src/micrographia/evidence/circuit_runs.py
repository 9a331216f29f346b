"""The claims of a circuit file put to the test, on every prompt of their family that the model answers as it says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.circuits import Circuit, CircuitClaim, Given
from micrographia.evidence.controls import Controls
from micrographia.evidence.interventions import Feature, Free, Step
from micrographia.evidence.notation import read_intervention
from micrographia.evidence.rows import run_rows
from micrographia.evidence.verdicts import FEWEST, band
from micrographia.graph.nodes import Kind, NodeId

__all__ = ["Benches", "CircuitRun", "Held"]

Benches: TypeAlias = Callable[[str], Bench]
"""A clean run of a prompt; asked for the same one again, it may give the same bench."""

_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Held:
    """Whether a claim holds, and all it rests on."""

    claim: CircuitClaim
    holds: bool
    why: str
    effect: float | None = None
    """The mean over the prompts."""
    interval: tuple[float, float] | None = None
    """Its 95 % bootstrap interval over prompts; None for one prompt."""
    controls: float | None = None
    """The mean of what controls do."""
    band: tuple[float, float] | None = None
    """The middle 95 % of the controls' means over the prompts."""
    valid: int = 0
    prompts: int = 0
    n_controls: int = 0

    def __str__(self) -> str:
        return f"{'holds' if self.holds else 'fails'}: {self.claim.words} {self.figures}"

    @property
    def figures(self) -> str:
        """What was measured, in one line."""
        if self.effect is None or self.controls is None or self.band is None:
            return self.why
        unit = "%" if self.claim.measure == "probability" else ""
        size = 100 if unit else 1

        def said(value: float) -> str:
            return f"{size * value:+.3g}{' ' + unit if unit else ''}"

        least = said(self.claim.sign * self.claim.least)
        spread = "" if self.interval is None else f" ({said(self.interval[0])} … {said(self.interval[1])})"
        return (
            f"{self.claim.measure} {said(self.effect)}{spread}, wanted {least}; controls {said(self.controls)} "
            f"({said(self.band[0])} … {said(self.band[1])}), allowed ±{size * self.claim.controls:.3g}{unit}; "
            f"{self.valid} of {self.prompts} prompts; {self.why}"
        )


@final
class CircuitRun:
    """A circuit file on one model in one basis."""

    def __init__(self, circuit: Circuit, benches: Benches, *, controls: int = FEWEST, seed: int = 0) -> None:
        self.circuit = circuit
        self._benches = benches
        self._made: dict[str, Bench] = {}
        self._controls = controls
        self._seed = seed

    def test(self, claim: CircuitClaim) -> Held:
        """One claim."""
        given = self.circuit.prompts(claim.family)
        answered = [(each, self._bench(each.text)) for each in given]
        valid = [
            (each, bench) for each, bench in answered if _answer(bench) == bench.model.tokenizer.token(each.answer)
        ]
        if not valid:
            each, bench = answered[0]
            said = bench.piece(_answer(bench))
            return Held(
                claim,
                False,
                f"the model answers no prompt of the family {claim.family!r} as the file says: {each.text!r} with "
                f"{said}, not {each.answer!r}",
                prompts=len(given),
            )
        found = [self._measured(claim, each, bench) for each, bench in valid]
        effects = np.array([effect for effect, _ in found])
        controls = np.array([each for _, each in found]).mean(0)
        return self._judged(claim, effects, controls, len(given))

    def _bench(self, text: str) -> Bench:
        if text not in self._made:
            self._made[text] = self._benches(text)
        return self._made[text]

    def _measured(self, claim: CircuitClaim, given: Given, bench: Bench) -> tuple[float, list[float]]:
        """What the change does on one prompt, and what each control does there."""
        token = _token(bench, claim.token or given.answer)
        values = _values(bench, claim.change)
        if not values:
            return 0.0, [0.0] * self._controls
        controls = Controls(bench, list(values), seed=self._seed, values=values)
        rows = [controls.step(), *(controls.placed(number) for number in range(min(self._controls, len(controls))))]
        if len(rows) <= FEWEST:
            raise CallError(
                f"{given.text!r} has only {len(rows) - 1} controls for {claim.words!r}; {FEWEST} are needed."
            )
        clean = float(_measure(claim, bench.logits()[-1:], token)[0])
        effect, *others = [
            float(value) / clean - 1.0 if claim.measure == "probability" else float(value) - clean
            for value in _measure(claim, run_rows(bench, rows, Free()).logits, token)
        ]
        return effect, others

    def _judged(self, claim: CircuitClaim, effects: np.ndarray, controls: np.ndarray, prompts: int) -> Held:
        mean, spread = float(effects.mean()), band(controls.tolist())
        aside = float(controls.mean())
        outside = mean < spread[0] if claim.sign < 0 else mean > spread[1]
        if claim.sign * mean < claim.least:
            why = "too little" if claim.sign * mean > 0 else "nothing" if mean == 0 else "the other way"
        elif abs(aside) > claim.controls:
            why = "controls do more than is allowed"
        elif not outside:
            why = "within what controls do"
        else:
            return Held(
                claim, True, "as said", mean, _interval(effects), aside, spread, len(effects), prompts, len(controls)
            )
        return Held(claim, False, why, mean, _interval(effects), aside, spread, len(effects), prompts, len(controls))


def _answer(bench: Bench) -> int:
    return int(bench.logits()[-1].argmax())


def _token(bench: Bench, word: str) -> int:
    return bench.model.tokenizer.token(word)


def _measure(claim: CircuitClaim, logits: Float[Tensor, "row d_vocab"], token: int) -> Float[Tensor, " row"]:
    wide = logits.double()
    if claim.measure == "probability":
        return wide.softmax(-1)[:, token]
    return wide[:, token] - wide.mean(-1)


def _values(bench: Bench, change: Sequence[str]) -> dict[NodeId, float]:
    """What each feature becomes; those that stay as they are left out."""
    values: dict[NodeId, float] = {}
    for words in change:
        if "@" not in words:
            raise CallError(f"{words!r} says no position: write 25.567@-1=0 for the last token, or @14.")
        steps = read_intervention(bench, words)
        if steps.later:
            raise CallError(f"{words!r} goes on behind the prompt, where a circuit file measures nothing.")
        for step in steps.steps:
            _put(bench, step, values)
    return values


def _put(bench: Bench, step: Step, values: dict[NodeId, float]) -> None:
    part = step.part
    if not isinstance(part, Feature):
        raise CallError(
            f"{part} is no feature of the basis; only these have controls, and a claim without them is none."
        )
    bench.check_feature(part.layer, part.index)
    bench.check_position(part.position)
    node = NodeId(Kind.FEATURE, part.layer, part.position, part.index)
    if node in values:
        raise CallError(f"{part} is changed twice; say once what it becomes.")
    clean = float(bench.active(part.layer)[part.position, part.index])
    if (new := step.change.new(clean)) != clean:
        values[node] = new


def _interval(effects: np.ndarray) -> tuple[float, float] | None:
    """The middle 95 % of means of prompts drawn anew."""
    if len(effects) < 2:
        return None
    drawn = np.random.default_rng(0).integers(0, len(effects), (_DRAWS, len(effects)))
    return band(effects[drawn].mean(1).tolist())
