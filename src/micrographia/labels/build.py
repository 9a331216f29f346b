"""From an atlas, a model and a basis to labels in their file, layer by layer.

A layer is written when it is done, in one transaction; the same call goes on with the layers that are missing. What is
beyond chance is decided within a layer, so that a layer's labels do not depend on which others are made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import final

import numpy as np
from jaxtyping import Bool, Float64
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.build import watches_of
from micrographia.atlas.effects import Effects
from micrographia.atlas.fingerprint import FeatureBasis, feature_basis
from micrographia.atlas.watch import Watch
from micrographia.bases.basis import Basis
from micrographia.errors import CallError
from micrographia.ids import Layer
from micrographia.labels.crowd import DENSE, Crowd
from micrographia.labels.edits import remains
from micrographia.labels.exam import Exam, Marks, least_of
from micrographia.labels.halves import Halves
from micrographia.labels.judging import AUC_LEAST, Judged, Tested, best_of, judged, passes_either, would_pass
from micrographia.labels.label import Provenance
from micrographia.labels.making import Made, Making
from micrographia.labels.outputs import Causal, Outputs
from micrographia.labels.rules import At, Rule, Where
from micrographia.labels.shares import ShareNull
from micrographia.labels.standing import StandingNull
from micrographia.labels.store import Control, LabelBook
from micrographia.labels.vocabulary import Vocabulary
from micrographia.labels.walk import Walk
from micrographia.model.model import Model
from micrographia.store import Progress, silent

__all__ = ["METHOD", "LabelConfig", "build_labels"]

METHOD = "rules-4"
_OTHERS = 20
_RARE = 300
"""Fewer than one in so many random directions reach farther than what is asked of a rule, and half as many farther than
what is asked of one about the strongest activations alone: together fewer than one in a hundred."""


class LabelConfig(BaseModel):
    """The choices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fit: int = Field(default=64_000, gt=0)
    """Positions that are read anew of the half that labels are made from."""
    held: int = Field(default=64_000, gt=0)
    """And of the half that they are tested on."""
    windows: int = Field(default=128, gt=0)
    """Windows of that half in which features are changed and tokens replaced."""
    places: int = Field(default=4, gt=0)
    """Places at which each feature is changed, and each rule tried."""
    random: int = Field(default=1000, ge=4)
    """Random directions beside the features of each layer."""
    rate: float = Field(default=0.05, gt=0, lt=1)
    """Of false discoveries that are put up with."""
    seed: int = 0


def build_labels(
    model: Model,
    basis: Basis,
    atlas: Atlas,
    book: LabelBook,
    *,
    config: LabelConfig = LabelConfig(),
    layers: Sequence[int] = (),
    stopped: Callable[[], bool] = lambda: False,
    progress: Progress = silent,
) -> bool:
    """Label an atlas's features, or go on with what was begun; False if it was stopped before its end."""
    if model.attached_edits:
        raise CallError("Labels are of the model as it is, and edits are attached. Make them outside the `with` block.")
    atlas.check(model, basis)
    wanted = [layer for layer in atlas.layers if not layers or layer in layers]
    if missing := sorted(set(layers) - set(atlas.layers)):
        raise CallError(f"This atlas has no layer {missing[0]}; it has: {', '.join(map(str, atlas.layers))}.")
    halves = Halves(atlas.text, config.seed)
    work = _Work(model, feature_basis(basis), atlas, halves, config)
    provenance = work.provenance()
    done = {layer for layer, said in book.provenances().items() if said == provenance}
    left = [layer for layer in wanted if layer not in done]
    progress("labelling layers", len(wanted) - len(left), len(wanted))
    if not left:
        return True
    stage = work.begin(left, progress)
    for layer, watch in stage.watches.items():
        if stopped():
            return False
        found = stage.layer(layer, watch)
        names = [found.label(one) for one in range(found.crowd.n_features)]
        book.write(layer, names, provenance, _control(found))
        progress("labelling layers", len(wanted) - len(left) + left.index(layer) + 1, len(wanted))
    return True


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """What is labelled with what."""

    model: Model
    basis: FeatureBasis
    atlas: Atlas
    halves: Halves
    config: LabelConfig

    def provenance(self) -> Provenance:
        plan, c = self.atlas.manifest.plan, self.config
        choices = f"places {c.places}, windows {c.windows}, random {c.random}"
        return Provenance(
            method=f"{METHOD} ({choices})",
            version=version("micrographia"),
            judge=None,
            model=plan.model,
            model_fingerprint=plan.model_fingerprint,
            dtype=str(self.model.dtype).removeprefix("torch."),
            basis=plan.basis.name or plan.basis.kind,
            basis_fingerprint=plan.basis.fingerprint,
            tokenizer_sha256=plan.tokenizer_sha256,
            corpus_sha256=plan.corpus_sha256,
            split_sha256=self.halves.sha256(),
            fit_positions=c.fit,
            held_positions=c.held,
            seed=c.seed,
            rate=c.rate,
        )

    def begin(self, layers: Sequence[Layer], progress: Progress) -> "_Stage":
        """Everything that the layers share."""
        text, c = self.atlas.text, self.config
        vocabulary = Vocabulary.of(self.model, text, c.seed)
        places = np.arange(text.ids.size, dtype=np.int64).reshape(text.ids.shape)[:, 1:].ravel()
        fit = places[~self.halves.held(self.halves.documents(places))]
        null, stands = ShareNull(text, fit, vocabulary, c.seed), StandingNull(text, fit, vocabulary, c.seed)
        walk = Walk(self.model, self.halves.reading(c.fit, c.held), c.windows, progress)
        watches = watches_of([self.atlas.layer(layer).plan for layer in layers], self.basis, self.model)
        effects = Effects.of(self.model.weights)
        return _Stage(self, vocabulary, null, stands, walk, effects, {Layer(watch.layer): watch for watch in watches})


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """What the layers share."""

    work: _Work
    vocabulary: Vocabulary
    null: ShareNull
    stands: StandingNull
    walk: Walk
    effects: Effects
    watches: dict[Layer, Watch]

    def layer(self, layer: Layer, watch: Watch) -> Judged:
        """Label one layer; the walk goes as far as that."""
        work, walk, c = self.work, self.walk, self.work.config
        while walk.layer < layer:
            walk.step(_look_away, watch.site)
        its = work.atlas.layer(layer)
        crowd = Crowd.of(walk, watch, its, work.basis, c.random, c.seed)
        exam = Exam(crowd, walk.reading, self.vocabulary, c.seed)
        text = work.atlas.text
        making = Making(crowd, text, walk.reading, self.vocabulary, self.null, self.stands, c.rate)
        asked = [one for one in range(len(crowd)) if 0 < crowd.density[one] <= DENSE]
        where = self._tested(crowd, exam, making, {one: making.reads(one, False) for one in asked}, "f1", _RARE)
        strong = self._tested(crowd, exam, making, {one: making.reads(one, True) for one in asked}, "f1", 2 * _RARE)
        near = self._tested(crowd, exam, making, {one: making.near(one) for one in asked}, "auc", _RARE)
        outputs = Outputs.of(crowd, its, exam, walk, self.effects, c.seed)
        screened = _screened(crowd, outputs, c.rate)
        causal = Causal.of(crowd, outputs, exam, walk, self.effects, screened[: crowd.n_features], c.places, c.seed)
        speaks = judged(outputs, causal, screened, c.rate, crowd.n_features)
        rules: dict[int, Where | At] = {}
        for one in range(crowd.n_features):
            made = best_of(where, strong, one).made[one]
            if made is not None and isinstance(made.rule, Where | At) and passes_either(where, strong, one):
                rules[one] = made.rule
        left = remains(rules, crowd, exam, walk, watch, self.vocabulary, c.places, c.seed)
        n = work.atlas.n_positions
        return Judged(
            layer, crowd, exam, making, where, strong, near, outputs, causal, speaks, left, n, self.vocabulary
        )

    def _tested(
        self,
        crowd: Crowd,
        exam: Exam,
        making: Making,
        rules: dict[int, Made | None],
        figure: str,
        rare: int,
    ) -> Tested:
        """Put rules to the test. The bar is what fewer than one in so many random directions exceeds."""
        size = len(crowd)
        marks: list[Marks | None] = [None] * size
        made = [rules.get(one) for one in range(size)]
        hits = np.zeros((size, len(exam.rows)), dtype=bool)
        seen = making.every.tokens[0]
        for one, each in enumerate(made):
            if each is not None:
                score, least = exam.score(each.rule), least_of(each.rule)
                hits[one] = score >= least
                marks[one] = exam.marks(one, score, least, each.strong, np.unique(seen[one][seen[one] >= 0]))
        ruled = np.array([one for one in range(crowd.n_features) if marks[one] is not None], dtype=np.int64)
        shuffled, top = np.full(size, 0.5), np.full(size, 0.5)
        chance = np.random.default_rng(self.work.config.seed)
        for one in map(int, ruled):
            others = chance.choice(ruled, _OTHERS)
            strong = _is_strong(made[one])
            shuffled[one] = exam.shuffled(one, strong, hits, others[others != one])
            top[one] = exam.top_token(one, strong, making.top(one))
        null = marks[crowd.null]
        reached = np.array([0.0 if each is None else float(getattr(each, figure)) for each in null])
        random = float(np.mean([0.5 if each is None else each.auc for each in null]))
        special = np.array([each is not None and _names_special(each.rule, self.vocabulary) for each in made])
        words = np.where(special[crowd.null], 0.0, reached)
        bars = np.where(special, _bar(reached, rare), _bar(words, rare))
        return Tested(made, marks, shuffled, top, bars, random)


def _names_special(rule: Rule, vocabulary: Vocabulary) -> bool:
    """Whether a rule names a token that begins or ends texts. In some layers the stream is like nothing else there, so
    that random directions detect it. That says something against a rule that names it, and nothing against others."""
    named = [token for each in rule.conditions for token in each.tokens] if isinstance(rule, Where) else []
    return bool(vocabulary.special[named].any())


def _bar(reached: Float64[np.ndarray, " random"], rare: int) -> float:
    """What fewer than one in so many random directions exceeds: of fewer than that, the best."""
    return float(np.sort(reached)[-max(1, len(reached) // rare)])


def _is_strong(made: Made | None) -> bool:
    return made is not None and made.strong


def _look_away(first: int, act: Tensor) -> None:
    """What passes on the way to the layers that are wanted."""


def _screened(crowd: Crowd, outputs: Outputs, rate: float) -> Bool[np.ndarray, " one"]:
    """Who writes words more pointedly than random directions; those are held to what is beyond chance for features."""
    n = crowd.n_features
    features = outputs.screened(n, rate) & (crowd.density[:n] > 0) & (crowd.density[:n] <= DENSE)
    cut = float(outputs.p_concentration[:n][features].max()) if features.any() else 0.0
    return np.concatenate([features, outputs.p_concentration[n:] <= cut])


def _control(found: Judged) -> Control:
    """How the random directions fared that nothing was measured against."""
    crowd = found.crowd
    spare = range(crowd.null.stop, len(crowd))
    reads = [one for one in spare if passes_either(found.where, found.strong, one)]
    speaks = [one for one in spare if found.speaks[one]]
    crosses = [one for one in spare if would_pass(found.near, one, AUC_LEAST, "auc")]
    return Control(len(spare), len(reads), len(speaks), len(set(crosses) - set(reads) - set(speaks)))
