"""From everything measured of a layer's crowd to a kind and a name for each, or none.

*Input*: a rule about the text up to the place says where the feature is active, in unseen documents, better than the
rules of all but one in three hundred random directions do, and minimal pairs bear it out. *Output*: it writes words
more pointedly than random directions, those words come more often where it is active than elsewhere, and taking it out
and doubling it moves them, down and up, further than random directions move theirs. *Both*: both. *Cross*: neither, but
words around the place say where it is active. *Dense*: active at more than a tenth of all places; *dead*: at none. Else
*obscure*.
"""

from dataclasses import asdict, dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float64

from micrographia.atlas.discoveries import passing
from micrographia.ids import Layer
from micrographia.labels.crowd import DENSE, Crowd
from micrographia.labels.edits import Remains
from micrographia.labels.exam import FEWEST, FEWEST_DOCUMENTS, Exam, Marks
from micrographia.labels.label import Edits, Effect, Evidence, Held, Kind, Label, Said, Share
from micrographia.labels.making import Made, Making
from micrographia.labels.outputs import Causal, Outputs
from micrographia.labels.rules import At
from micrographia.labels.shares import OFFSETS, Found
from micrographia.labels.standing import STRETCHES
from micrographia.labels.vocabulary import CLASSES, Vocabulary

__all__ = ["AUC_LEAST", "F1_LEAST", "Judged", "Tested", "best_of", "judged", "passes_either", "would_pass"]

F1_LEAST = 0.4
"""The F1 that a rule about tokens needs, whatever random directions reach."""
AUC_LEAST = 0.7
"""And the area under the curve that words around need."""
_SHARES = 6


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """Rules, and how they did: for all of a crowd, None where there is none."""

    made: list[Made | None]
    marks: list[Marks | None]
    shuffled: Float64[np.ndarray, " one"]
    top_token: Float64[np.ndarray, " one"]
    bar: Float64[np.ndarray, " one"]
    """What fewer than one in so many random directions exceeds."""
    random: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Everything that is known of a layer's crowd."""

    layer: Layer
    crowd: Crowd
    exam: Exam
    making: Making
    where: Tested
    strong: Tested
    """Rules about its strongest three tenths alone."""
    near: Tested
    outputs: Outputs
    causal: Causal
    speaks: Bool[np.ndarray, " one"]
    """Whose claim about the output holds."""
    remains: dict[int, Remains]
    n_positions: int
    vocabulary: Vocabulary

    def label(self, one: int) -> Label:
        """What is said of one feature."""
        evidence = self._evidence(one)
        density, n, documents = evidence.density, len(self.exam.active(one)[0]), self.exam.documents(one)
        if density == 0:
            return self._none(one, "dead", f"It was never active in {self.n_positions:,} positions.", evidence)
        if density > DENSE:
            return self._none(one, "dense", f"It is active at {density:.0%} of all positions.", evidence)
        if n < FEWEST or documents < FEWEST_DOCUMENTS:
            why = (
                f"It is active at {n} places of {documents} unseen documents; to say anything, {FEWEST} of "
                f"{FEWEST_DOCUMENTS} are needed."
            )
            return self._none(one, "obscure", why, evidence)
        reads, failed = self._reads(one)
        speaks = bool(self.speaks[one])
        if reads or speaks:
            return self._named(one, reads, speaks, failed, evidence)
        crossing, failed_near = self._crosses(one)
        if crossing:
            return self._cross(one, evidence)
        withdrawn, why = failed or failed_near or (None, self._silent(one))
        return self._none(one, "obscure", why, evidence.model_copy(update={"withdrawn": withdrawn}))

    # ------------------------------------------------------------ claims

    def _reads(self, one: int) -> tuple[bool, tuple[str, str] | None]:
        """Whether the claim about the input holds; else which label failed, and why."""
        tested = best_of(self.where, self.strong, one)
        made, marks = tested.made[one], tested.marks[one]
        if made is None or marks is None:
            return False, None
        text = _text(made, self.vocabulary)
        bar = max(float(tested.bar[one]), F1_LEAST)
        if not would_pass(tested, one, F1_LEAST, "f1"):
            said = f"its F1 in unseen documents is {marks.f1:.2f}, and more than {bar:.2f} is needed"
            return False, (text, f"The label “{text}” was withdrawn: {said}.")
        left = self.remains.get(one)
        if left is None:
            return False, (text, f"The label “{text}” was withdrawn: no place was found to test it by an edit.")
        if not left.stands:
            said = (
                f"{left.named:.0%} of the activation remain when what it names is replaced, {left.other:.0%} when not"
            )
            return False, (text, f"The label “{text}” was withdrawn: {said}.")
        return True, None

    def _crosses(self, one: int) -> tuple[bool, tuple[str, str] | None]:
        made, marks = self.near.made[one], self.near.marks[one]
        if made is None or marks is None:
            return False, None
        bar = max(float(self.near.bar[one]), AUC_LEAST)
        if would_pass(self.near, one, AUC_LEAST, "auc") and marks.low > self.near.random:
            return True, None
        text = made.rule.words(self.vocabulary)
        said = f"it ranks places at {marks.auc:.2f} in unseen documents, and more than {bar:.2f} is needed"
        return False, (text, f"The label “{text}” was withdrawn: {said}.")

    def _silent(self, one: int) -> str:
        if self.making.beyond(one):
            return "What stands around its places is beyond chance, but no rule made of it says where it is active."
        return "Nothing around its places is beyond chance, and what it writes says nothing."

    # ------------------------------------------------------------ records

    def _named(self, one: int, reads: bool, speaks: bool, failed: tuple[str, str] | None, evidence: Evidence) -> Label:
        say = f"say {self.vocabulary.words(self.outputs.tokens[one, :3].tolist())}"
        tested = best_of(self.where, self.strong, one)
        made = tested.made[one]
        if reads and made is not None:
            held, text = self._held(one, tested), _text(made, self.vocabulary)
            update = {"rule": str(made.rule), "strong": made.strong, "held": held}
            whole = evidence.model_copy(update={**update, "shares": tuple(self._shares(one, made.strong))})
            kind: Kind = "both" if speaks else "input"
            why = "A rule about the text says where it is active, in unseen documents, and edits bear it out."
            if speaks:
                text, why = f"{text} → {say}", f"{why} It moves what comes next as well."
            nulls = {"shuffled": held.shuffled, "random": held.random, "top_token": held.top_token}
            return self._label(one, kind, text, why, held.auc, (held.low, held.high), nulls, whole)
        whole = evidence.model_copy(update={"withdrawn": failed[0] if failed else None})
        why = "It moves its words further than random directions move theirs, and they come where it is active."
        c = self.causal
        interval = float(c.low[one]), float(c.high[one])
        return self._label(one, "output", say, why, float(c.auc[one]), interval, {"random": 0.5}, whole)

    def _cross(self, one: int, evidence: Evidence) -> Label:
        made, held = self.near.made[one], self._held(one, self.near)
        assert made is not None, "a claim that holds has a rule"
        whole = evidence.model_copy(update={"rule": str(made.rule), "held": held})
        why = "Words around the place say where it is active, in unseen documents; no single place of them does."
        nulls = {"shuffled": held.shuffled, "random": held.random, "top_token": held.top_token}
        text = made.rule.words(self.vocabulary)
        return self._label(one, "cross", text, why, held.auc, (held.low, held.high), nulls, whole)

    def _none(self, one: int, kind: Kind, why: str, evidence: Evidence) -> Label:
        tested = best_of(self.where, self.strong, one)
        made = tested.made[one]
        if kind == "obscure" and made is not None and tested.marks[one] is not None:
            update = {"held": self._held(one, tested), "rule": str(made.rule), "strong": made.strong}
            evidence = evidence.model_copy(update=update)
        return self._label(one, kind, None, why, None, None, None, evidence)

    def _label(
        self,
        one: int,
        kind: Kind,
        text: str | None,
        why: str,
        score: float | None,
        interval: tuple[float, float] | None,
        nulls: dict[str, float] | None,
        evidence: Evidence,
    ) -> Label:
        return Label(self.layer, one, kind, text, "rule", why, score, interval, nulls, evidence)

    def _held(self, one: int, tested: Tested) -> Held:
        marks = tested.marks[one]
        assert marks is not None, "only what was tested is written down"
        return Held(
            **asdict(marks),
            shuffled=float(tested.shuffled[one]),
            random=tested.random,
            bar=float(tested.bar[one]),
            top_token=float(tested.top_token[one]),
        )

    def _evidence(self, one: int) -> Evidence:
        o, c = self.outputs, self.causal
        said = Said(
            tokens=tuple(o.tokens[one].tolist()),
            concentration=float(o.concentration[one]),
            p_concentration=float(o.p_concentration[one]),
            next=float(o.next[one]),
            next_elsewhere=float(o.next_elsewhere[one]),
            p_next=float(o.p_next[one]),
            argmax=float(o.argmax[one]),
            argmax_elsewhere=float(o.argmax_elsewhere[one]),
            p_argmax=float(o.p_argmax[one]),
        )
        effect = None
        if c.n[one]:
            effect = Effect(
                n=int(c.n[one]),
                ablated=float(c.ablated[one]),
                boosted=float(c.boosted[one]),
                random=c.random * float(c.length[one]),
                auc=float(c.auc[one]),
                p=float(c.p[one]),
            )
        left = self.remains.get(one)
        return Evidence(
            density=float(self.crowd.density[one]),
            examples=int((self.crowd.places[one] >= 0).sum()),
            shares=tuple(self._shares(one, False)),
            said=said,
            effect=effect,
            edits=None if left is None else Edits(n=left.n, named=left.named, other=left.other),
        )

    def _shares(self, one: int, strong: bool) -> list[Share]:
        """The distances at which tokens or classes are the most surprising, and where in its text, its line or its
        sentence the place is, as far as they are beyond chance."""
        its, cut = self.making.strong if strong else self.making.every, self.making.cut
        found: list[tuple[float, Share]] = []
        if its.p_stretch[one, 0] <= cut:
            stretch = At(*STRETCHES[int(its.stretch.which[one])])
            share = _share(its.stretch, one, its.p_stretch[one, 0], 0, stretch.words())
            found.append((float(its.stretch.surprise[one]), share))
        for column, offset in enumerate(OFFSETS):
            for side, p in ((its.token[offset], its.p_token), (its.kind[offset], its.p_kind)):
                if p[one, column] <= cut:
                    which = int(side.which[one])
                    name = "" if side is its.token[offset] else list(CLASSES)[which]
                    found.append((float(side.surprise[one]), _share(side, one, p[one, column], offset, name)))
        return [share for _, share in sorted(found, key=lambda each: -each[0])[:_SHARES]]


def _share(found: Found, one: int, p: float, offset: int, name: str) -> Share:
    return Share(
        offset=offset,
        name=name,
        token=None if name else int(found.which[one]),
        share=float(found.share[one]),
        corpus=float(found.corpus[one]),
        odds=float(found.odds[one]),
        entropy=float(found.entropy[one]),
        p=float(p),
    )


def judged(
    outputs: Outputs, causal: Causal, screened: Bool[np.ndarray, " one"], rate: float, n: int
) -> Bool[np.ndarray, " one"]:
    """Whose claim about the output holds, features and random directions; what is beyond chance, features decide. Of
    those that are tried, whose words move, and of these, whose words come."""
    holds = screened & (causal.ablated < 0) & (causal.boosted > 0)
    holds &= causal.p <= _cut(causal.p[:n][screened[:n] & (causal.n[:n] > 0)], rate)
    moved, comes = holds[:n].copy(), np.zeros(len(holds), dtype=bool)
    for p in (outputs.p_next, outputs.p_argmax):
        comes |= p <= _cut(p[:n][moved], rate)
    return holds & comes


def would_pass(tested: Tested, one: int, least: float, figure: str) -> bool:
    """Whether a random direction's rule would have been believed."""
    marks = tested.marks[one]
    if marks is None:
        return False
    figures: float = getattr(marks, figure)
    return bool(figures > tested.bar[one]) and figures >= least


def best_of(where: Tested, strong: Tested, one: int) -> Tested:
    """The claim about all activations if it passes, else the one about the strongest if that does, else the better."""
    for tested in (where, strong):
        if would_pass(tested, one, F1_LEAST, "f1"):
            return tested
    first, second = where.marks[one], strong.marks[one]
    return strong if first is None and second is not None else where


def passes_either(where: Tested, strong: Tested, one: int) -> bool:
    """Whether one of the two claims about the input would be believed, but for edits."""
    return any(would_pass(tested, one, F1_LEAST, "f1") for tested in (where, strong))


def _text(made: Made, vocabulary: Vocabulary) -> str:
    return made.rule.words(vocabulary) + (", when strong" if made.strong else "")


def _cut(p: Float64[np.ndarray, " tried"], rate: float) -> float:
    """The largest p-value that is beyond chance."""
    fallen = passing(p, rate)
    return float(p[fallen].max()) if fallen.any() else 0.0
