"""The features of a layer, and behind them as many random directions as are wanted, over the windows of a reading.

A random direction reads and writes random mixtures of what the layer's features read and write, each counted with the
same length, so that it lies where they lie, and no few long rows are all that it is made of; it is active where its
value is largest, at the share of places at which some feature of the layer is. It goes through everything that a
feature goes through, from as many places of the same text, and what is said of it is wrong.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from micrographia.atlas.atlas import LayerAtlas
from micrographia.atlas.effects import row_norms, written_by
from micrographia.atlas.fingerprint import FeatureBasis
from micrographia.atlas.strength import strengths
from micrographia.atlas.watch import EncoderWatch, Span, Watch
from micrographia.labels.halves import Reading
from micrographia.labels.walk import Walk
from micrographia.model.weights import Weights

__all__ = ["DENSE", "Crowd", "mixtures"]

DENSE = 0.1
"""The share of places from which on a feature is dense."""
_SPAN = Span(0, 0)
_SAMPLE = 32
_TOP = 8


def mixtures(rows: Float[Tensor, "feature wide"], n: int, generator: torch.Generator) -> Float[Tensor, "random wide"]:
    """Random mixtures of rows, each counted with the same length."""
    unit = rows / row_norms(rows.float()).clamp(min=1e-12).to(rows)[:, None]
    return torch.randn(n, len(rows), generator=generator).to(rows) @ unit


@final
@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """Who is active where, sorted by feature; random directions stand behind the features."""

    n_features: int
    n_random: int
    start: Int64[np.ndarray, " bound"]
    """Where the entries of each begin, and where the last ones end."""
    row: Int64[np.ndarray, " entry"]
    strength: Float64[np.ndarray, " entry"]
    density: Float64[np.ndarray, " one"]
    """Of features over the whole atlas."""
    places: Int64[np.ndarray, "one example"]
    """A random sample of the places of each in the half that labels are made from; -1 behind the last."""
    strong: Int64[np.ndarray, "one upper"]
    """The same of its strongest three tenths."""
    top: Int64[np.ndarray, "one best"]
    """The strongest of all, in order."""
    writes: Float[Tensor, "one d_model"]
    sign: Float64[np.ndarray, " entry"]
    """Of the activation: -1 where a neuron takes away what it writes."""

    def __len__(self) -> int:
        return self.n_features + self.n_random

    @staticmethod
    def of(walk: Walk, watch: Watch, atlas: LayerAtlas, basis: FeatureBasis, n_random: int, seed: int) -> "Crowd":
        """Take a walk through the next block, and see who is active."""
        chance = np.random.default_rng([seed, atlas.plan.layer])
        counts = atlas.counts()
        density = counts / atlas.n_positions
        writes = written_by(basis, walk.model.weights, watch.layer).float()
        seen = _Seen(watch, _reads(watch, walk.model.weights, n_random, seed))
        walk.step(seen, watch.site)
        alive = density[(density > 0) & (density <= DENSE)]
        copied = chance.choice(alive, n_random) if len(alive) else np.full(n_random, 0.01)
        row, who, strength, sign = seen.entries(copied, len(density))
        generator = torch.Generator().manual_seed(seed + 1)
        mixed = mixtures(writes, n_random, generator)
        lengths = row_norms(writes)[torch.from_numpy(chance.integers(0, len(writes), n_random))]
        mixed *= (lengths / row_norms(mixed).clamp(min=1e-12))[:, None]
        order = np.argsort(who, kind="stable")
        start = np.searchsorted(who[order], np.arange(len(density) + n_random + 1))
        row, strength, sign = row[order], strength[order], sign[order]
        places, strong, top = _examples(walk.reading, start, row, strength, seed)
        whole, wrote = np.concatenate([density, copied]), torch.cat([writes, mixed])
        return Crowd(len(density), n_random, start, row, strength, whole, places, strong, top, wrote, sign)

    @property
    def null(self) -> slice:
        """The random directions that features are held against; the others are held against them too."""
        return slice(self.n_features, self.n_features + -(-3 * self.n_random // 4))

    def entries(self, one: int) -> slice:
        return slice(int(self.start[one]), int(self.start[one + 1]))


@final
class _Seen:
    """Takes down what is active as the windows pass."""

    __slots__ = ("_codes", "_features", "_reads", "_rows", "_signs", "_values", "_watch")

    def __init__(self, watch: Watch, reads: Float[Tensor, "random wide"]) -> None:
        self._watch, self._reads = watch, reads
        self._rows: list[np.ndarray] = []
        self._features: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []
        self._signs: list[np.ndarray] = []
        self._values: list[Tensor] = []

    def __call__(self, first: int, act: Float[Tensor, "window pos wide"], /) -> None:
        active = self._watch(act, _SPAN)
        self._rows.append(active.row + first * (act.shape[1] - 1))
        self._features.append(active.feature.astype(np.int32))
        self._codes.append(active.code)
        below = np.zeros(len(active.row), dtype=bool) if active.negative is None else active.negative
        self._signs.append(np.where(below, -1.0, 1.0))
        values = act[:, 1:].flatten(0, 1).to(self._reads.dtype) @ self._reads.T
        self._values.append(values.cpu())

    def entries(
        self, densities: Float64[np.ndarray, " random"], n_features: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rows, features, strengths and signs; random directions are active where their value is among the largest, of
        neurons, whatever its sign."""
        signed, values = not isinstance(self._watch, EncoderWatch), torch.cat(self._values)
        n = [max(1, round(len(values) * float(density))) for density in densities]
        row, who, strength = [np.concatenate(self._rows)], [np.concatenate(self._features)], list[np.ndarray]()
        strength.append(strengths(np.concatenate(self._codes), self._watch.exponent))
        sign = list(self._signs)
        for i, most in enumerate(n):
            mine = values[:, i].float()
            best = (mine.abs() if signed else mine).topk(most)
            row.append(best.indices.numpy())
            who.append(np.full(most, n_features + i, dtype=np.int32))
            strength.append((best.values - best.values[-1] + 1e-6).double().numpy())
            sign.append(np.where(signed & (mine[best.indices] < 0).numpy(), -1.0, 1.0))
        return np.concatenate(row), np.concatenate(who), np.concatenate(strength), np.concatenate(sign)


def _reads(watch: Watch, weights: Weights, n: int, seed: int) -> Float[Tensor, "random wide"]:
    """Random mixtures of what the features read; of neurons, of their activations by what they write."""
    generator = torch.Generator().manual_seed(seed)
    match watch:
        case EncoderWatch(_, encoder):
            return mixtures(encoder.weight, n, generator)
        case _:
            norms = watch.write_norms
            return torch.randn(n, watch.n_features, generator=generator).to(norms) * norms


def _examples(
    reading: Reading,
    start: Int64[np.ndarray, " bound"],
    row: Int64[np.ndarray, " entry"],
    strength: Float64[np.ndarray, " entry"],
    seed: int,
) -> tuple[Int64[np.ndarray, "one example"], Int64[np.ndarray, "one upper"], Int64[np.ndarray, "one best"]]:
    """Places of each in the half that labels are made from: a sample, its upper tenths with the top, and the top."""
    chance = np.random.default_rng(seed)
    fit, length = reading.fit.ravel(), reading.ids.shape[1]
    sample: list[np.ndarray] = []
    strong: list[np.ndarray] = []
    top: list[np.ndarray] = []
    for here in map(slice, start[:-1].tolist(), start[1:].tolist()):
        rows, values = row[here], strength[here]
        rows, values = rows[fit[rows]], values[fit[rows]]
        window, position = np.divmod(rows, reading.per_window)
        places = reading.windows[window] * length + position + 1
        drawn = chance.permutation(len(places))[:_SAMPLE]
        best = np.argsort(-values, kind="stable")[:_TOP]
        upper = drawn[values[drawn] >= np.quantile(values, 0.7)] if len(values) else drawn
        sample.append(places[drawn])
        strong.append(np.unique(np.concatenate([places[best], places[upper]])))
        top.append(places[best])
    return _stacked(sample), _stacked(strong), _stacked(top)


def _stacked(several: list[np.ndarray]) -> Int64[np.ndarray, "one example"]:
    found = np.full((len(several), max(1, *map(len, several))), -1, dtype=np.int64)
    for i, each in enumerate(several):
        found[i, : len(each)] = each
    return found
