"""What a feature does to the next token: by the words that it writes, by what comes next, and by changing it.

Promoted tokens are those that lie nearest to what a feature writes, so anything that is changed moves its own promoted
tokens. What counts is how much, for the length of the step: every figure is held against random directions, with the
tokens that they promote, at places where they are active, through the same model.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from micrographia.atlas.atlas import LayerAtlas
from micrographia.atlas.discoveries import beyond, passing
from micrographia.atlas.effects import Effects, row_norms
from micrographia.labels.crowd import Crowd, mixtures
from micrographia.labels.exam import FEWEST, Exam
from micrographia.labels.walk import Walk

__all__ = ["Causal", "Outputs", "far_beyond"]

_SAID = 10
_FIRST = 5
_MIXED = 3000
_UPPER = 0.1
_COMPARED = 2000
_REDRAWN = 200


@final
@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """The promoted tokens of a layer's crowd, and what they have to do with what comes next."""

    tokens: Int64[np.ndarray, "one said"]
    cosines: Float64[np.ndarray, "one said"]
    concentration: Float64[np.ndarray, " one"]
    p_concentration: Float64[np.ndarray, " one"]
    next: Float64[np.ndarray, " one"]
    next_elsewhere: Float64[np.ndarray, " one"]
    p_next: Float64[np.ndarray, " one"]
    argmax: Float64[np.ndarray, " one"]
    argmax_elsewhere: Float64[np.ndarray, " one"]
    p_argmax: Float64[np.ndarray, " one"]

    @staticmethod
    def of(crowd: Crowd, atlas: LayerAtlas, exam: Exam, walk: Walk, effects: Effects, seed: int) -> "Outputs":
        n, arrays = crowd.n_features, atlas.arrays
        said = min(_SAID, arrays["promoted.token"].shape[1])
        ends = effects.ends(crowd.writes[n:], said)
        tokens = np.concatenate([arrays["promoted.token"][:, :said], ends["promoted.token"]]).astype(np.int64)
        cosines = np.concatenate([arrays["promoted.cosine"][:, :said], ends["promoted.cosine"]]).astype(np.float64)
        concentration = cosines[:, :_FIRST].mean(1)
        chance = np.random.default_rng([seed, atlas.plan.layer, 1])
        following = exam.tokens(1)
        likeliest = walk.argmax.ravel()[exam.rows]
        real = _coming(crowd, exam, tokens, following, chance)
        guessed = _coming(crowd, exam, tokens, likeliest, chance)
        null = _pointedness(crowd.writes[:n], effects, [seed, atlas.plan.layer])
        return Outputs(tokens, cosines, concentration, far_beyond(concentration, null), *real, *guessed)

    def screened(self, n: int, rate: float) -> Bool[np.ndarray, " feature"]:
        """The features whose promoted tokens lie nearer to what they write than those of random directions do."""
        return passing(self.p_concentration[:n], rate)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Causal:
    """What taking a feature out and doubling it does to its promoted tokens, for those that were tried."""

    n: Int64[np.ndarray, " one"]
    """Places at which each was tried; 0 if it was not."""
    ablated: Float64[np.ndarray, " one"]
    boosted: Float64[np.ndarray, " one"]
    turned: Float64[np.ndarray, " one"]
    """How far the residual turns towards the first few of its tokens, whatever the lengths of their rows, for a step as
    long as the final norm's scale: half the difference between the two."""
    length: Float64[np.ndarray, " one"]
    """The mean length of its steps, in that measure."""
    auc: Float64[np.ndarray, " one"]
    low: Float64[np.ndarray, " one"]
    high: Float64[np.ndarray, " one"]
    p: Float64[np.ndarray, " one"]
    random: float
    """Half the difference between the two changes of random directions, for a step as long as the norm's scale."""

    @staticmethod
    def of(
        crowd: Crowd,
        outputs: Outputs,
        exam: Exam,
        walk: Walk,
        effects: Effects,
        tried: Bool[np.ndarray, " feature"],
        places: int,
        seed: int,
    ) -> "Causal":
        """Try some features, and all random directions, at a few places of unseen documents each."""
        chance = np.random.default_rng([seed, walk.layer, 2])
        who, row, activation = _places(crowd, exam, walk, tried, places, chance)
        lengths = row_norms(crowd.writes).double().cpu().numpy()
        step = np.abs(activation) * lengths[who]
        random = who >= crowd.n_features
        if random.any() and (~random).any():
            step[random] = chance.choice(step[~random], int(random.sum()))
        signed = torch.from_numpy(np.copysign(step, activation) / np.maximum(lengths[who], 1e-12))
        added = crowd.writes[torch.from_numpy(who)] * signed[:, None]
        window, position = np.divmod(row, walk.reading.per_window)
        position = position + 1
        boosted, ablated = (walk.changed(window, position, sign * added.float()) for sign in (1.0, -1.0))
        clean = walk.final[np.searchsorted(walk.branching, window), position]
        found: list[np.ndarray] = []
        for pointing in _pointing(effects, outputs.tokens):
            at = [_along(walk, x, pointing[torch.from_numpy(who)]) for x in (clean, boosted, ablated)]
            found += [at[1] - at[0], at[2] - at[0]]
        # A step moves logits by its length over the norm's scale, which differs from place to place.
        worth = np.maximum(step / _scale(walk, clean).double().cpu().numpy(), 1e-12)
        up, down, towards, away = found
        return _judged(crowd, who, up, down, (towards - away) / 2 / worth, worth, chance)


def far_beyond(found: Float64[np.ndarray, " one"], null: Float64[np.ndarray, " draw"]) -> Float64[np.ndarray, " one"]:
    """How often draws of a null reach as far as what was found; where none does, as its upper tenth goes on: with a
    tail that falls by the same factor at every step. Counts alone cannot tell one in a thousand from one in a million,
    and among two thousand features that is what matters."""
    p, upper = beyond(found, null), np.quantile(null, 1 - _UPPER) if len(null) else 0.0
    excess = null[null > upper] - upper
    if not len(excess):
        return p
    tail = len(excess) / len(null) * np.exp(-(found - upper) / excess.mean())
    return np.where(found > null.max(), np.minimum(p, tail), p)


def _pointedness(
    writes: Float[Tensor, "feature d_model"], effects: Effects, seed: list[int]
) -> Float64[np.ndarray, " draw"]:
    """The mean cosine of the first few promoted tokens of many random mixtures of what features write."""
    generator = torch.Generator().manual_seed(int(np.random.default_rng(seed).integers(2**62)))
    mixed = mixtures(writes, _MIXED, generator)
    found = [cosines.topk(min(_FIRST, cosines.shape[1])).values.mean(1) for cosines in effects.cosines(mixed)]
    return torch.cat(found).double().cpu().numpy()


def _places(
    crowd: Crowd,
    exam: Exam,
    walk: Walk,
    tried: Bool[np.ndarray, " feature"],
    places: int,
    chance: np.random.Generator,
) -> tuple[Int64[np.ndarray, " job"], Int64[np.ndarray, " job"], Float64[np.ndarray, " job"]]:
    """Some places of each in the windows to branch off, from the stronger half of its activations, with their signs."""
    kept = np.zeros(walk.reading.documents.shape, dtype=bool)
    kept[walk.branching] = True
    kept = kept.ravel()[exam.rows]
    jobs: list[tuple[int, np.ndarray, np.ndarray]] = []
    for one in [*np.flatnonzero(tried).tolist(), *range(crowd.n_features, len(crowd))]:
        index, strength = exam.active(one)
        if len(index) < FEWEST:
            continue
        good = np.flatnonzero(kept[index] & (strength >= np.median(strength)))
        good = chance.permutation(good)[:places]
        jobs.append((one, exam.rows[index[good]], (strength * exam.signs(one))[good]))
    who = np.concatenate([np.full(len(rows), one) for one, rows, _ in jobs] or [np.empty(0, np.int64)])
    row = np.concatenate([rows for _, rows, _ in jobs] or [np.empty(0, np.int64)])
    activations = np.concatenate([activation for *_, activation in jobs] or [np.empty(0)])
    return who.astype(np.int64), row, activations


def _pointing(
    effects: Effects, tokens: Int64[np.ndarray, "one said"]
) -> tuple[Float[Tensor, "one d_model"], Float[Tensor, "one d_model"]]:
    """What the mean logit of each one's tokens reads, against the vocabulary's mean; and the mean direction of the
    first few's rows. Rows differ threefold in length, and a random direction's nearest ones are long: the same step
    moves their logits further. Who says one word says few, and random directions none: ten tokens would hide that."""
    index = torch.from_numpy(tokens).to(effects.lengths.device)
    logits = [(effects.directions[i] * effects.lengths[i][..., None]).mean(1) for i in torch.split(index, 256)]
    return torch.cat(logits), torch.cat([effects.directions[i].mean(1) for i in torch.split(index[:, :_FIRST], 256)])


def _along(
    walk: Walk, residual: Float[Tensor, "job d_model"], pointing: Float[Tensor, "job d_model"]
) -> Float64[np.ndarray, " job"]:
    return ((residual.float() * pointing).sum(-1) / _scale(walk, residual)).double().cpu().numpy()


def _scale(walk: Walk, residual: Float[Tensor, "job d_model"]) -> Float[Tensor, " job"]:
    """What the final norm divides by. What is read of a centred residual is centred itself: only this must be."""
    norm, x = walk.model.weights.final_norm, residual.float()
    if norm.centred:
        x = x - x.mean(-1, keepdim=True)
    return (x.square().mean(-1) + norm.eps).sqrt()


def _judged(
    crowd: Crowd,
    who: Int64[np.ndarray, " job"],
    up: Float64[np.ndarray, " job"],
    down: Float64[np.ndarray, " job"],
    turned: Float64[np.ndarray, " job"],
    step: Float64[np.ndarray, " job"],
    chance: np.random.Generator,
) -> Causal:
    """Means by feature, held against those of random directions."""
    size = len(crowd)
    n = np.bincount(who, minlength=size)
    every = np.maximum(n, 1)

    def mean(values: Float64[np.ndarray, " job"]) -> Float64[np.ndarray, " one"]:
        return np.bincount(who, values, size) / every

    whole, null = mean(turned), crowd.null
    random = np.sort(whole[null][n[null] > 0])
    start = np.searchsorted(who, np.arange(size))
    low, high = np.full(size, np.nan), np.full(size, np.nan)
    for one in np.flatnonzero(n).tolist():
        mine = turned[start[one] : start[one] + n[one]]
        drawn = chance.choice(mine, (_REDRAWN, n[one])).mean(1)
        low[one], high[one] = np.quantile(_above(drawn, random), [0.025, 0.975])
    p = np.where(n > 0, far_beyond(whole, random), 1.0)
    moved = mean((up - down) / 2 / step)[null][n[null] > 0]
    return Causal(
        n=n,
        ablated=mean(down),
        boosted=mean(up),
        turned=whole,
        length=mean(step),
        auc=_above(whole, random),
        low=low,
        high=high,
        p=p,
        random=float(moved.mean()) if len(moved) else 0.0,
    )


def _above(values: Float64[np.ndarray, " value"], null: Float64[np.ndarray, " draw"]) -> Float64[np.ndarray, " value"]:
    """The share of a null's draws that are smaller."""
    return np.searchsorted(null, values) / max(len(null), 1)


def _coming(
    crowd: Crowd,
    exam: Exam,
    tokens: Int64[np.ndarray, "one said"],
    coming: Int64[np.ndarray, " row"],
    chance: np.random.Generator,
) -> tuple[Float64[np.ndarray, " one"], Float64[np.ndarray, " one"], Float64[np.ndarray, " one"]]:
    """How often what comes is one of the promoted tokens, the same where others are active, and the p-value of it."""
    size = len(crowd)
    counts: list[tuple[np.ndarray, np.ndarray, int]] = []
    for one in range(size):
        index, _ = exam.active(one)
        found, count = np.unique(coming[index], return_counts=True)
        counts.append((found, count.astype(np.int64), len(index)))
    mine = np.zeros(size)
    for one, (found, count, n) in enumerate(counts):
        mine[one] = count[np.isin(found, tokens[one])].sum() / n if n else 0.0
    usable = [one for one in range(crowd.n_features) if counts[one][2] >= FEWEST]
    reached, total, compared = np.zeros(size, dtype=np.int64), np.zeros(size), np.zeros(size, dtype=np.int64)
    table = np.zeros(max(int(coming.max(initial=0)), int(tokens.max(initial=0))) + 2)
    others = chance.permutation(np.array(usable, dtype=np.int64))[:_COMPARED]
    for other in map(int, others):
        found, count, n = counts[other]
        table[found] = count / n
        theirs, another = table[tokens].sum(1), np.arange(size) != other
        table[found] = 0.0
        reached += (theirs >= mine) & another
        total += theirs * another
        compared += another
    p = np.where([each[2] >= FEWEST for each in counts], (reached + 1) / (compared + 1), 1.0)
    return mine, total / np.maximum(compared, 1), p
