"""What is explained: logits, sums and differences of them, directions, features; at one position or several.

A logit is read less the mean of all logits, which changes no probability: the unembedding row minus the vocabulary's
mean, through the held final norm. A soft-capped logit is read through its clean slope.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from micrographia.bases.basis import Decomposition
from micrographia.errors import CallError
from micrographia.graph.adjoint import behind_norm
from micrographia.ids import TokenId
from micrographia.model.frozen import Frozen
from micrographia.model.tokens import Tokenizer

__all__ = [
    "Combination",
    "Continuation",
    "Direction",
    "Injection",
    "OfFeature",
    "Positions",
    "Target",
    "TargetRow",
    "Tokens",
    "difference",
    "following",
    "resolve",
]

Positions: TypeAlias = int | Sequence[int] | slice
"""One position or several, whose rows are summed; negative ones count from the prompt's end."""


@dataclass(frozen=True, slots=True, eq=False)
class Injection:
    """A linear reading of the clean run: `vector · residual` at one place.

    `stream` reads the residual that enters block `layer` (after the last block where `layer` is their number);
    `mlp` reads the residual in front of the MLP's norm, with that norm's held scale already in the vector.
    """

    layer: int
    position: int
    vector: Float[Tensor, " d_model"]
    reads: Literal["stream", "mlp"] = "stream"


@dataclass(frozen=True, slots=True, eq=False)
class TargetRow:
    """One row to explain: the sum of its injections and of `bias`, which came to `value` in the clean run."""

    name: str
    """As people read it: `␣French`, `␣French − ␣German`, `12.301@5`, `direction at resid_post.3@7`."""
    injections: tuple[Injection, ...]
    bias: float
    value: float
    weight: float
    """Its share when influences are summed over targets; they add up to 1 over all targets of a trace."""
    probability: float | None
    """The model's probability of the token; None for what is no token."""
    token: TokenId | None

    @property
    def position(self) -> int:
        """The last position that it reads."""
        return max(injection.position for injection in self.injections)


# ---------------------------------------------------------------- what can be asked for


@dataclass(frozen=True, slots=True)
class Tokens:
    """Logits, one row each: those named, or the likeliest until they have `share` of the probability.

    `weights` says how much each counts; by default it is the token's probability.
    """

    tokens: tuple[str | int, ...] = ()
    weights: tuple[float, ...] | None = None
    positions: Positions = -1
    share: float = 0.95
    at_most: int = 10
    kind: Literal["tokens"] = "tokens"


@dataclass(frozen=True, slots=True)
class Combination:
    """One row: a weighted sum of logits. `difference(a, b)` is the commonest."""

    tokens: tuple[str | int, ...]
    coefficients: tuple[float, ...]
    positions: Positions = -1
    kind: Literal["combination"] = "combination"


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """One row: the residual behind a block, along a vector."""

    vector: Float[Tensor, " d_model"]
    layer: int
    positions: Positions = -1
    kind: Literal["direction"] = "direction"


@dataclass(frozen=True, slots=True)
class OfFeature:
    """One row: an active feature's pre-activation."""

    layer: int
    index: int
    position: int = -1
    kind: Literal["feature"] = "feature"


@dataclass(frozen=True, slots=True)
class Continuation:
    """A row for each token of what follows the prompt, as text or as ids; all count alike."""

    tokens: str | tuple[int, ...]
    kind: Literal["continuation"] = "continuation"


Target: TypeAlias = str | int | Tokens | Combination | Direction | OfFeature | Continuation | None
"""None is `Tokens()`, the likeliest; a text or a number is that one token."""


def difference(token: str | int, against: str | int, positions: Positions = -1) -> Combination:
    """How much better one token does than another."""
    return Combination((token, against), (1.0, -1.0), positions)


def resolve(target: Target, found: Decomposition, tokenizer: Tokenizer) -> tuple[TargetRow, ...]:
    """The rows that a target means on this run. A `Continuation` must already stand in the prompt."""
    logits = _Logits(found.frozen, tokenizer)
    match target:
        case None:
            return logits.rows(Tokens())
        case str() | int():
            return logits.rows(Tokens((target,)))
        case Tokens():
            return logits.rows(target)
        case Combination():
            return (logits.combined(target),)
        case Direction():
            return (_direction(target, found.frozen),)
        case OfFeature():
            return (_feature(target, found),)
        case Continuation():
            ids = following(target, tokenizer)
            start = len(found.frozen.prompt.ids) - len(ids)
            return tuple(logits.row(token, [start + i], 1 / len(ids)) for i, token in enumerate(ids))


def following(target: Continuation, tokenizer: Tokenizer) -> tuple[TokenId, ...]:
    """The tokens of a continuation."""
    given = tokenizer.encode(target.tokens) if isinstance(target.tokens, str) else target.tokens
    ids = tuple(tokenizer.token(token) for token in given)
    if not ids:
        raise CallError("The continuation is empty. Give at least one token of text.")
    return ids


# ---------------------------------------------------------------- logits

_MEANS = WeakIdKeyDictionary()
"""The mean row of each unembedding matrix that has been used: it takes as long as a small trace to find."""


class _Logits:
    """The logits of one run as readings of its last residual."""

    def __init__(self, frozen: Frozen, tokenizer: Tokenizer) -> None:
        self.frozen = frozen
        self.tokenizer = tokenizer

    @cached_property
    def mean(self) -> Float[Tensor, " d_model"]:
        unembed = self.frozen.weights.unembed.weight
        if unembed not in _MEANS:
            _MEANS[unembed] = unembed.mean(0)
        return cast("Tensor", _MEANS[unembed])

    def probabilities(self, positions: list[int]) -> Float[Tensor, " d_vocab"]:
        """Of the next token; averaged over several positions."""
        f = self.frozen
        constant = f.weights.unembed.bias
        if f.weights.final_norm.bias is not None:
            shift = f.weights.unembed.weight @ f.weights.final_norm.bias
            constant = shift if constant is None else shift + constant
        found: list[Tensor] = []
        for position in positions:
            logits = f.promotes(f.residuals[-1][position : position + 1], position)[0]
            if constant is not None:
                logits = logits + (constant if f.logit_slope is None else constant * f.logit_slope[position])
            found.append(logits.double().softmax(-1))
        return torch.stack(found).mean(0)

    def rows(self, wanted: Tokens) -> tuple[TargetRow, ...]:
        positions = _checked(wanted.positions, len(self.frozen.embed))
        likely = self.probabilities(positions)
        if wanted.tokens:
            ids = [self.tokenizer.token(token) for token in wanted.tokens]
        else:
            best = likely.topk(min(wanted.at_most, len(likely)))
            enough = int((best.values.cumsum(0) < wanted.share).sum()) + 1
            ids = [TokenId(int(token)) for token in best.indices[:enough]]
        weights = [float(likely[token]) for token in ids] if wanted.weights is None else list(wanted.weights)
        if len(weights) != len(ids) or min(weights) < 0 or not sum(weights) > 0:
            raise CallError(f"Weights are one for each token, none negative, not all zero; {len(ids)} are wanted.")
        return tuple(
            self.row(token, positions, weight / sum(weights), float(likely[token]))
            for token, weight in zip(ids, weights, strict=True)
        )

    def row(self, token: TokenId, positions: list[int], weight: float, probability: float | None = None) -> TargetRow:
        known = float(self.probabilities(positions)[token]) if probability is None else probability
        injections, bias = self.read([(token, 1.0)], positions)
        name = self.tokenizer.piece(token)
        return TargetRow(name, injections, bias, _value(self.frozen, injections, bias), weight, known, token)

    def combined(self, wanted: Combination) -> TargetRow:
        positions = _checked(wanted.positions, len(self.frozen.embed))
        if len(wanted.tokens) != len(wanted.coefficients) or not wanted.tokens:
            raise CallError("A combination has one coefficient for each token, and at least one token.")
        terms = list(zip(map(self.tokenizer.token, wanted.tokens), wanted.coefficients, strict=True))
        injections, bias = self.read(terms, positions)
        name = _sum_of([(c, self.tokenizer.piece(token)) for token, c in terms])
        return TargetRow(name, injections, bias, _value(self.frozen, injections, bias), 1.0, None, None)

    def read(self, terms: Sequence[tuple[TokenId, float]], positions: list[int]) -> tuple[tuple[Injection, ...], float]:
        """The injections, one for each position, that read a sum of logits less their mean; and its constant."""
        f, norm, unembed = self.frozen, self.frozen.weights.final_norm, self.frozen.weights.unembed
        injections: list[Injection] = []
        constant = 0.0
        total = sum(c for _, c in terms)
        for position in positions:
            slope = None if f.logit_slope is None else f.logit_slope[position]
            mean = self.mean if slope is None else slope @ unembed.weight / len(slope)
            direction = -total * mean
            for token, c in terms:
                direction = direction + (c if slope is None else c * slope[token]) * unembed.weight[token]
            if unembed.bias is not None:
                biases = unembed.bias if slope is None else slope * unembed.bias
                constant += sum(c * float(biases[token]) for token, c in terms) - total * float(biases.mean())
            if norm.bias is not None:
                constant += float(direction @ norm.bias)
            read = direction * norm.gain / f.final_norm_scale[position]
            read = read - read.mean() if norm.centred else read
            injections.append(Injection(f.anatomy.n_layers, position, read.to(direction.dtype)))
        return tuple(injections), constant


def _sum_of(terms: Sequence[tuple[float, str]]) -> str:
    """`␣French − ␣German`, `0.5·␣a + ␣b`."""
    written = [f"{'−' if c < 0 else '+'} {piece if abs(c) == 1 else f'{abs(c):g}·{piece}'}" for c, piece in terms]
    return " ".join(written).removeprefix("+ ")


# ---------------------------------------------------------------- directions and features


def _direction(wanted: Direction, frozen: Frozen) -> TargetRow:
    n_layers, d_model = frozen.anatomy.n_layers, frozen.anatomy.d_model
    if not 0 <= wanted.layer < n_layers:
        raise CallError(f"There is no layer {wanted.layer}: this model has the layers 0 to {n_layers - 1}.")
    if wanted.vector.shape != (d_model,):
        raise CallError(f"A direction has {d_model} entries here; this has the shape {tuple(wanted.vector.shape)}.")
    positions = _checked(wanted.positions, len(frozen.embed))
    vector = wanted.vector.to(frozen.embed)
    injections = tuple(Injection(wanted.layer + 1, position, vector) for position in positions)
    places = ",".join(str(position) for position in positions)
    name = f"direction at resid_post.{wanted.layer}@{places}"
    return TargetRow(name, injections, 0.0, _value(frozen, injections, 0.0), 1.0, None, None)


def _feature(wanted: OfFeature, found: Decomposition) -> TargetRow:
    frozen = found.frozen
    if not 0 <= wanted.layer < len(found.layers):
        raise CallError(f"There is no layer {wanted.layer}: this model has the layers 0 to {len(found.layers) - 1}.")
    [position] = _checked(wanted.position, len(frozen.embed))
    layer = found.layers[wanted.layer]
    here = layer.position == position
    mine = (here & (layer.feature == wanted.index)).nonzero()[:, 0]
    if len(mine) != 1:
        raise CallError(
            f"Feature {wanted.index} of layer {wanted.layer} is not active at position {position}, "
            f"where {int(here.sum())} others are: only an active feature can be explained."
        )
    terms = [t.rows[layer.feature[mine]] * (1 if t.gain is None else t.gain[mine, None]) for t in layer.reads]
    read = torch.stack(terms).sum(0)
    norm = frozen.weights.blocks[wanted.layer].mlp_norm
    constant = 0.0 if norm is None or norm.bias is None else float(read[0] @ norm.bias)
    vector = behind_norm(frozen, wanted.layer, read, layer.position[mine])[0]
    return TargetRow(
        name=f"{wanted.layer}.{wanted.index}@{position}",
        injections=(Injection(wanted.layer, position, vector, "mlp"),),
        bias=float(layer.read_bias[mine]) + constant,
        value=float(layer.activation[mine]),
        weight=1.0,
        probability=None,
        token=None,
    )


def _value(frozen: Frozen, injections: Sequence[Injection], bias: float) -> float:
    """What a reading of the stream came to."""
    return bias + sum(float(one.vector @ frozen.residuals[one.layer][one.position]) for one in injections)


def _checked(positions: Positions, n: int) -> list[int]:
    match positions:
        case int():
            given = [positions]
        case slice():
            given = list(range(n))[positions]
        case _:
            given = list(positions)
    wrong = [position for position in given if not -n <= position < n]
    if wrong or not given:
        what = f"no position {wrong[0]}" if wrong else "no position chosen"
        raise CallError(f"There is {what}: this prompt has {n} tokens, at 0 to {n - 1}, or -{n} to -1 from its end.")
    return [position % n for position in given]
