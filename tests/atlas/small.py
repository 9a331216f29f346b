"""The choices of an atlas that takes a moment, and the slow way to what is in it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from micrographia.atlas.best import Entries
from micrographia.atlas.plan import AtlasConfig
from micrographia.atlas.strength import exponent_for
from micrographia.atlas.text import CONTEXT, Text, contexts
from micrographia.bases.basis import Basis
from micrographia.model.frozen import freeze
from micrographia.model.model import Model

__all__ = ["SMALL", "Fired", "content", "fired", "slow_best", "some_entries"]

SMALL = AtlasConfig(tokens=600, window=16, block=4, strongest=4, sample=6, before=3, after=2, promoted=5)


@dataclass(frozen=True)
class Fired:
    """One activation."""

    layer: int
    index: int
    place: int
    value: float
    context: tuple[int, ...]
    hash: int


def fired(model: Model, basis: Basis, text: Text, seed: int) -> Iterator[Fired]:
    """Every activation behind position 0, one window after the other, as the basis itself decomposes it."""
    hashes = contexts(text.ids, seed).reshape(len(text.ids), -1)
    for number, ids in enumerate(text.ids.tolist()):
        found = basis.decompose(freeze(model, model.tokenizer.from_ids(ids)))
        for layer in found.layers:
            columns = (layer.position.tolist(), layer.feature.tolist(), layer.activation.tolist())
            for position, index, value in zip(*columns, strict=True):
                if position and value:
                    context = tuple(ids[max(0, position - CONTEXT + 1) : position + 1])
                    place, hash_ = number * text.length + position, int(hashes[number, position - 1])
                    yield Fired(int(layer.layer), index, place, value, context, hash_)


def code_of(value: float, exponent: int) -> int:
    return int(np.float16(abs(np.float32(value)) * np.float32(2.0**-exponent)).view(np.uint16))


def unit_of(model: Model, basis: Basis, text: Text, layer: int, windows: int) -> int:
    """The exponent that the first block of windows gives."""
    first = replace(text, ids=text.ids[:windows])
    return exponent_for(torch.tensor([f.value for f in fired(model, basis, first, 0) if f.layer == layer]))


def content(folder: Path) -> dict[str, bytes]:
    """Every file of an atlas, byte for byte."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def some_entries(n: int, *, features: int, seed: int, contexts: int = 40) -> Entries:
    """Random entries, many of which share features, strengths and contexts."""
    chance = np.random.default_rng(seed)
    hashes = chance.integers(0, 2**63, contexts, dtype=np.uint64)
    return Entries(
        chance.integers(0, features, n),
        chance.integers(1, 12, n).astype(np.uint16) * np.uint16(700),
        hashes[chance.integers(0, contexts, n)],
        chance.permutation(n).astype(np.uint32),
        chance.integers(0, 255, (n, 3)).astype(np.uint8),
    )


def slow_best(entries: Entries, order: str, n: int) -> list[tuple[int, int, int]]:
    """Feature, code and place of what should be kept, by sorting everything."""
    columns = (entries.feature, entries.code, entries.context, entries.place)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    rows.sort(key=lambda r: (r[0], -r[1] if order == "strongest" else 0, r[2], r[3]))
    kept: dict[int, dict[int, tuple[int, int, int]]] = {}
    for feature, code, context, place in rows:
        its = kept.setdefault(feature, {})
        if context not in its and len(its) < n:
            its[context] = (feature, code, place)
    return [entry for feature in sorted(kept) for entry in kept[feature].values()]
