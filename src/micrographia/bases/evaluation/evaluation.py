"""A basis judged: every figure of the card, for it and for whoever stands beside it, on the same text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from micrographia.bases.evaluation.baselines import Calibration, calibrate
from micrographia.bases.evaluation.bootstrap import Bootstrap
from micrographia.bases.evaluation.card import Card, EvaluationConfig, Provenance, Sample
from micrographia.bases.evaluation.figures import Draws, Measured, difference_between, row_of
from micrographia.bases.evaluation.jacobian import compare_slopes
from micrographia.bases.evaluation.passages import Passages, draw
from micrographia.bases.evaluation.prompts import PROMPT_LENGTH, Unigrams, count_unigrams, replace_on_prompts
from micrographia.bases.evaluation.provenance import versions, weights_sha256
from micrographia.bases.evaluation.reconstruction import reconstruct
from micrographia.bases.evaluation.splice import splice_everywhere, splice_one_layer
from micrographia.bases.evaluation.subject import Subject, baselines, rounding_loss
from micrographia.corpus.corpus import Corpus
from micrographia.corpus.manifest import Split
from micrographia.errors import CallError
from micrographia.model.model import Model
from micrographia.store import Progress, silent

__all__ = ["evaluate"]

_FEW = 20


@final
@dataclass(frozen=True, slots=True)
class _Text:
    """The passages of each part."""

    training: Passages
    reconstruction: Passages
    one_layer: Passages
    all_layers: Passages
    prompts: Passages
    slopes: Passages

    @staticmethod
    def of(corpus: Corpus, config: EvaluationConfig) -> "_Text":
        def some(split: Split, length: int, positions: int, shortest: int = 3) -> Passages:
            return draw(corpus, split, length=length, positions=positions, seed=config.seed, shortest=shortest)

        return _Text(
            training=some("train", config.passage, config.train_tokens),
            reconstruction=some("heldout", config.passage, config.tokens),
            one_layer=some("heldout", config.short_passage, config.one_layer_tokens),
            all_layers=some("heldout", config.short_passage, config.all_layers_tokens),
            prompts=some("heldout", PROMPT_LENGTH, config.prompt_tokens, shortest=PROMPT_LENGTH),
            slopes=some("heldout", config.short_passage, config.slope_tokens),
        )

    def samples(self) -> tuple[Sample, ...]:
        parts: list[tuple[str, Split, Passages]] = [
            ("baselines", "train", self.training),
            ("reconstruction", "heldout", self.reconstruction),
            ("one layer spliced", "heldout", self.one_layer),
            ("all layers spliced", "heldout", self.all_layers),
            ("replacement accuracy", "heldout", self.prompts),
            ("slopes", "heldout", self.slopes),
        ]
        return tuple(
            Sample(part=part, split=split, positions=its.n_positions, documents=its.n_documents)
            for part, split, its in parts
        )

    def draws(self, config: EvaluationConfig) -> Draws:
        def of(passages: Passages) -> Bootstrap:
            return Bootstrap(passages.n_documents, draws=config.draws, seed=config.seed)

        return Draws(
            reconstruction=of(self.reconstruction),
            one_layer=of(self.one_layer),
            all_layers=of(self.all_layers),
            prompts=of(self.prompts),
            slopes=of(self.slopes),
        )


def evaluate(
    model: Model,
    corpus: Corpus,
    basis: Subject,
    *,
    peers: Sequence[Subject] = (),
    unrounded: Subject | None = None,
    config: EvaluationConfig = EvaluationConfig(),
    progress: Progress = silent,
) -> Card:
    """The card of a basis, beside its baselines, its peers, and itself before its weights were rounded."""
    if model.attached_edits:
        raise CallError("A card is of the model as it is, and edits are attached. Evaluate outside the `with` block.")
    corpus.check_tokenizer(model.tokenizer)
    given = (basis, *((unrounded,) if unrounded else ()), *peers)
    _check_names(given)
    rounding = rounding_loss(basis, unrounded) if unrounded else None
    text = _Text.of(corpus, config)
    calibration = calibrate(model, text.training, basis.stand_in, tokens=config.batch, progress=progress)
    subjects = (*given, *baselines(model, basis, calibration))
    unigrams = count_unigrams(corpus, model.anatomy.d_vocab, seed=config.seed)
    measured = _measured(model, text, subjects, calibration, unigrams, config, progress)
    draws = text.draws(config)
    mean, zero = measured[-2:]
    rest = [difference_between(measured[0], other, draws) for other in measured[1:]]
    clean = zero.all_layers
    questions = int(zero.asked.sum())
    return Card(
        rows=tuple(row_of(its, zero, mean, draws) for its in measured),
        differences=tuple(each for each in rest if each is not None),
        rounding=rounding,
        clean_loss=draws.all_layers.estimate(torch.div, clean.clean_loss, clean.positions),
        questions=questions,
        notes=_notes(given, text.samples(), questions, model),
        provenance=Provenance(
            model=model.name,
            model_sha256=weights_sha256(model.weights),
            dtype=str(model.dtype).removeprefix("torch."),
            device=model.device.type,
            corpus_sha256=corpus.sha256,
            config=config,
            samples=text.samples(),
            unigram_tokens=unigrams.n_tokens,
            bases=tuple(subject.record for subject in given if subject.record is not None),
            versions=versions(),
        ),
    )


def _measured(
    model: Model,
    text: _Text,
    subjects: Sequence[Subject],
    calibration: Calibration,
    unigrams: Unigrams,
    config: EvaluationConfig,
    progress: Progress,
) -> list[Measured]:
    """All sums of all subjects, in their order."""
    stand_ins = [subject.stand_in for subject in subjects]
    moving = [subject.stand_in for subject in subjects if subject.moves]
    fits = reconstruct(model, text.reconstruction, stand_ins, calibration.means, tokens=config.batch, progress=progress)
    alone = splice_one_layer(model, text.one_layer, stand_ins, progress=progress)
    together = splice_everywhere(model, text.all_layers, stand_ins, progress=progress)
    replaced = replace_on_prompts(model, text.prompts, stand_ins, unigrams, tokens=config.batch, progress=progress)
    slopes = iter(compare_slopes(model, text.slopes, moving, tokens=config.batch, seed=config.seed, progress=progress))
    return [
        Measured(subject, fit, one, both, right, replaced.asked, next(slopes) if subject.moves else None)
        for subject, fit, one, both, right in zip(
            subjects, fits, alone, together, replaced.right.unbind(1), strict=True
        )
    ]


def _check_names(subjects: Sequence[Subject]) -> None:
    names = [subject.name for subject in subjects]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CallError(f"Two of the bases are called {', '.join(twice)}: one card needs different names.")


def _notes(given: Sequence[Subject], samples: Sequence[Sample], questions: int, model: Model) -> tuple[str, ...]:
    """What a reader must know and the figures do not say."""
    notes = ["Position 0 of every passage keeps its MLPs and counts in no figure."]
    for subject in given:
        record = subject.record
        if record is not None and record.left_out:
            listed = ", ".join(map(str, record.left_out))
            notes.append(f"{subject.name} leaves out layers {listed}: their MLPs stay, and no figure counts them.")
        if subject.stand_in.layers != given[0].stand_in.layers:
            notes.append(f"{subject.name} writes to other layers than {given[0].name}: the two rows do not compare.")
        if subject.file is not None and subject.file.kind == "cross-layer":
            notes.append(f"Slopes of {subject.name} are those from a layer's input to the same layer's output.")
        claimed = None if subject.file is None else subject.file.facts.model
        if claimed not in (None, model.name):
            notes.append(f"{subject.name} says that it is a basis of {claimed}, and the model here is {model.name}.")
    few = [f"{its.part} ({its.documents})" for its in samples if its.split == "heldout" and its.documents < _FEW]
    if few:
        notes.append(f"Few documents, so that intervals are too narrow: {', '.join(few)}.")
    if not questions:
        notes.append("No token fits replacement accuracy in this text: ask for more, --prompt-tokens.")
    return tuple(notes)
