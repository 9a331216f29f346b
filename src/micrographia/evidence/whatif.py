"""What if: the answers before and after an intervention, what is written then, and what features change with it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.interventions import Feature, Free, Intervention, Mode
from micrographia.evidence.placing import Placed, Shift, place
from micrographia.evidence.rows import Outcome, run_rows
from micrographia.evidence.steering import steering
from micrographia.ids import TokenId
from micrographia.model.tokens import Prompt

__all__ = ["Changed", "WhatIf", "Word", "what_if"]


@dataclass(frozen=True, slots=True)
class Word:
    """A possible next token, before and after."""

    token: TokenId
    piece: str
    before: float
    """Its probability."""
    after: float
    logit: float
    """By how much its logit changes, less the mean of all."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A feature that changes without having been touched."""

    feature: Feature
    before: float
    after: float
    written: float
    """The length of the change in what it writes."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Before and after one intervention."""

    prompt: Prompt
    mode: Mode
    shifts: tuple[Shift, ...]
    """What was changed, from which value to which."""
    words: tuple[Word, ...]
    """The likeliest before and after, and those that were asked for; by the larger probability."""
    changed: tuple[Changed, ...]
    """The features that change most with it."""
    written: tuple[str, str] | None
    """What the model writes after the prompt, before and after."""


def what_if(
    bench: Bench,
    intervention: Intervention,
    mode: Mode | None = None,
    *,
    tokens: Sequence[TokenId] = (),
    top: int = 5,
    position: int = -1,
    features: int = 10,
    max_new: int = 0,
) -> WhatIf:
    """Try one intervention. `max_new` tokens are written after the prompt, which only the free mode can."""
    mode = mode or Free()
    if not -bench.n_positions <= position < bench.n_positions:
        bench.check_position(position)
    if intervention.later and not max_new:
        raise CallError("What is changed behind the prompt shows only in what is written there: ask for new tokens.")
    if max_new and not isinstance(mode, Free):
        raise CallError("Only the free mode can write on: the others hold what is known of the prompt alone.")
    written = _written(bench, intervention, max_new) if max_new else None
    before, placed, shifts, changed = bench.logits()[position], None, (), ()
    after = before
    if intervention.steps:
        placed = place(bench, replace(intervention, later=()), mode)
        shifts = placed.shifts
        found = run_rows(bench, [placed], mode, position=position, read=range(bench.n_layers) if features else ())
        after, changed = found.logits[0], _changes(bench, placed, found, features)
    return WhatIf(bench.prompt, mode, shifts, _words(bench, before, after, tokens, top), changed, written)


def _words(
    bench: Bench,
    before: Float[Tensor, " d_vocab"],
    after: Float[Tensor, " d_vocab"],
    tokens: Sequence[TokenId],
    top: int,
) -> tuple[Word, ...]:
    before, after = before.double(), after.double()
    p, q = before.softmax(-1), after.softmax(-1)
    moved = (after - after.mean()) - (before - before.mean())
    best: list[int] = list(tokens)
    for part in (p, q):
        best += cast("list[int]", part.topk(min(top, len(part))).indices.tolist())
    words = [
        Word(TokenId(token), bench.piece(token), float(p[token]), float(q[token]), float(moved[token]))
        for token in dict.fromkeys(best)
    ]
    return tuple(sorted(words, key=lambda word: -max(word.before, word.after)))


def _written(bench: Bench, intervention: Intervention, max_new: int) -> tuple[str, str]:
    placed = place(bench, replace(intervention, later=()), Free()) if intervention.steps else Placed()
    edits = steering(bench, intervention, placed)
    texts = [bench.model.generate(bench.prompt, max_new=max_new, edit=edit).text for edit in ((), edits)]
    return texts[0], texts[1]


@torch.no_grad()
def _changes(bench: Bench, placed: Placed, found: Outcome, count: int) -> tuple[Changed, ...]:
    """Features whose writing changes most, those that were put to a value left out."""
    touched = {shift.step.part for shift in placed.shifts if isinstance(shift.step.part, Feature)}
    held = set(placed.written)
    changes: list[Changed] = []
    for layer, act in found.read.items():
        encode = bench.encoder(layer)
        if encode is None or not count:
            continue
        new, old = encode(act[0]), bench.active(layer)[found.start : found.start + act.shape[1]]
        size = (new - old).abs() * _write_lengths(bench, layer, found.start, act.shape[1])
        best = size.flatten().topk(min(count + len(touched), size.numel()))
        largest = cast("list[int]", best.indices.tolist()), cast("list[float]", best.values.tolist())
        for i, length in zip(*largest, strict=True):
            column, index = divmod(i, size.shape[1])
            feature = Feature(layer, index, found.start + column)
            if length > 0 and feature not in touched and (layer, feature.position) not in held:
                changes.append(Changed(feature, float(old[column, index]), float(new[column, index]), length))
    return tuple(sorted(changes, key=lambda one: -one.written)[:count])


def _write_lengths(bench: Bench, layer: int, start: int, width: int) -> Float[Tensor, "pos feature"]:
    """How long what a unit of each feature writes to its own layer is."""
    term = bench.found.layers[layer].writes[bench.found.layers[layer].layer]
    lengths = term.rows.square().sum(-1).sqrt().expand(width, -1)
    return lengths if term.scale is None else lengths / term.scale[start : start + width]
