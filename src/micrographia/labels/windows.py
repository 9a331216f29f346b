"""How alike the texts around a feature's strongest places are, in three windows: before, behind, and on both sides.

The score of a window is the mean cosine between the embeddings of the texts in it, over all pairs of places. By itself
it means nothing: short texts are alike, and any text is like itself. So places in one document count once, and the
score stands beside those of as many random places of the same text, in the same window. Whatever turns tokens into
vectors may be the embedder. Two go by a name: "model", the model's own residual stream, halfway up, averaged over the
window; and "minilm", a small model that was trained to tell what sentences mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float64, Int64, Integer

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.discoveries import beyond
from micrographia.atlas.feature import Feature
from micrographia.atlas.text import CONTEXT
from micrographia.errors import CallError
from micrographia.ids import Layer, TokenId
from micrographia.labels.halves import Halves
from micrographia.labels.label import Window
from micrographia.labels.minilm import MiniLM
from micrographia.model.model import Model
from micrographia.model.site import Point, Site

__all__ = [
    "WINDOWS",
    "Embedder",
    "EmbedderName",
    "ModelStates",
    "alike",
    "embedder_named",
    "strongest_places",
    "window_scores",
]

EmbedderName: TypeAlias = Literal["model", "minilm"]

WINDOWS: dict[str, tuple[int, int]] = {"input": (-8, 0), "output": (1, 8), "cross": (-8, 8)}
"""From which to which distance each window reaches."""
_PLACES = 10
_FEWEST = 5
_DRAWS = 200


@runtime_checkable
class Embedder(Protocol):
    """Turns texts, given as their tokens, into vectors: one row for each text, in the same order.

    Texts of the same tokens must give the same vector. Lengths do not matter: only angles between rows are used.
    """

    def __call__(self, texts: Sequence[Sequence[TokenId]], /) -> Float64[np.ndarray, "text wide"]: ...


@final
@dataclass(frozen=True, slots=True)
class ModelStates:
    """The mean of the model's own residual stream behind the block halfway up, the first token left out."""

    model: Model

    def __call__(self, texts: Sequence[Sequence[TokenId]], /) -> Float64[np.ndarray, "text wide"]:
        layer = Layer(self.model.anatomy.n_layers // 2)
        site, tokenizer = Site(Point.RESID_POST, layer), self.model.tokenizer
        front = tokenizer.front()
        rows: list[np.ndarray] = []
        for first in range(0, len(texts), 64):
            some = [tokenizer.from_ids([*front, *text]) for text in texts[first : first + 64]]
            act = self.model.run(some, read=site, logits="none")[site].float()
            for row, prompt in enumerate(some):
                skipped = min(len(front), len(prompt.ids) - 1)
                rows.append(act[row, skipped : len(prompt.ids)].mean(0).double().cpu().numpy())
        return np.stack(rows)


def embedder_named(name: str, model: Model) -> Embedder:
    """The embedder that goes by a name; `model` is the one whose tokens the texts are."""
    match name:
        case "model":
            return ModelStates(model)
        case "minilm":
            return MiniLM(model.tokenizer)
        case _:
            raise CallError(
                f"There is no embedder {name!r}. Write 'model' or 'minilm', or in Python give one of your own."
            )


def alike(
    model: Model, atlas: Atlas, layer: int, index: int, embedder: "EmbedderName | Embedder" = "model", *, seed: int = 0
) -> tuple[Window, ...]:
    """How alike the texts around the strongest places of a feature are, beside random places of the atlas."""
    atlas.check_tokenizer(model.tokenizer)
    places = strongest_places(atlas.feature(layer, index))
    by = embedder_named(embedder, model) if isinstance(embedder, str) else embedder
    return window_scores(places, Halves(atlas.text, 0), by, seed=seed)


def strongest_places(feature: Feature) -> Int64[np.ndarray, " place"]:
    """Where a feature is strongest; behind that, as a small atlas keeps few, where it is strongest of the random
    sample. Equal contexts count once."""
    sample = feature.sample
    some = (feature.strongest, sample.chosen(np.argsort(-sample.activation, kind="stable")))
    known: dict[tuple[int, ...], int] = {}
    for place in (place for examples in some for place in examples.place.tolist()):
        tokens, _ = sample.text.tokens(place, CONTEXT - 1, 0)
        known.setdefault(tokens, place)
    return np.array(list(known.values()), dtype=np.int64)


@torch.no_grad()
def window_scores(
    strongest: Integer[np.ndarray, " place"], halves: Halves, embedder: Embedder, *, seed: int = 0
) -> tuple[Window, ...]:
    """The three scores of a feature's strongest places, each beside its null."""
    text = halves.text
    places = _one_each(strongest.astype(np.int64), halves)[:_PLACES]
    if len(places) < _FEWEST:
        raise CallError(
            f"The places that are known of this feature are in {len(places)} documents, and {_FEWEST} are needed to "
            "compare texts."
        )
    chance = np.random.default_rng(seed)
    random = _one_each(chance.integers(0, text.ids.size, 8 * _DRAWS), halves)[:_DRAWS]
    found: list[Window] = []
    for name, (first, last) in WINDOWS.items():
        both = [_tokens(place, first, last, halves) for place in [*places.tolist(), *random.tolist()]]
        vectors = embedder([each for each in both if each])
        n = sum(map(bool, both[: len(places)]))
        mine, others = vectors[:n], vectors[n:]
        if len(mine) < _FEWEST or len(others) < len(mine):
            continue
        unit = others / np.maximum(np.sqrt((others**2).sum(1, keepdims=True)), 1e-12)
        null = np.array([_alike(unit[chance.choice(len(unit), len(mine), replace=False)]) for _ in range(_DRAWS)])
        score = _alike(mine / np.maximum(np.sqrt((mine**2).sum(1, keepdims=True)), 1e-12))
        p = float(beyond(np.array([score]), null)[0])
        limit, by = float(np.quantile(null, 0.95)), type(embedder).__name__
        found.append(Window(name=name, embedder=by, n=n, cosine=score, null=limit, p=p))
    return tuple(found)


def _one_each(places: Int64[np.ndarray, " place"], halves: Halves) -> Int64[np.ndarray, " some"]:
    """The first place of each document."""
    _, first = np.unique(halves.documents(places), return_index=True)
    return places[np.sort(first)]


def _tokens(place: int, first: int, last: int, halves: Halves) -> list[TokenId]:
    """The tokens from one distance to another, as far as the window of text goes."""
    window, position = divmod(place, halves.text.length)
    ids = halves.text.ids[window, max(position + first, 1) : max(position + last + 1, 0)]
    return [TokenId(int(token)) for token in ids]


def _alike(unit: Float64[np.ndarray, "text wide"]) -> float:
    """The mean cosine of all pairs."""
    n = len(unit)
    return float(((unit @ unit.T).sum() - n) / (n * (n - 1)))
