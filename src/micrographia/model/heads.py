"""What attention heads look at: scores of their patterns, each beside what uniform attention would score."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.errors import CallError, WorkError
from micrographia.ids import TokenId
from micrographia.model.model import Model
from micrographia.model.site import Point, Site
from micrographia.model.tokens import Prompt

__all__ = ["HeadScores", "Score", "repeated_prompts", "score_heads"]

Score = Literal["entropy", "previous", "first", "induction"]


@dataclass(frozen=True, slots=True)
class HeadScores:
    """Per head, means over the positions of a sample. `uniform` holds the same means for attention that is uniform
    over what the layer may see: everything before, or its sliding window.

    entropy: of the pattern, in bits. previous, first: the attention paid to the token just before, and to position 0.
    induction: on random sequences said twice, the attention paid to the token after the earlier copy.
    """

    entropy: Float[Tensor, "layer head"]
    previous: Float[Tensor, "layer head"]
    first: Float[Tensor, "layer head"]
    induction: Float[Tensor, "layer head"]
    uniform: Mapping[Score, Float[Tensor, " layer"]]
    n_positions: int
    n_repeated: int

    def table(self, score: Score) -> Float[Tensor, "layer head"]:
        match score:
            case "entropy":
                return self.entropy
            case "previous":
                return self.previous
            case "first":
                return self.first
            case "induction":
                return self.induction

    def top(self, score: Score, n: int) -> tuple[tuple[int, int], ...]:
        """The (layer, head) pairs with the highest score, best first."""
        table = self.table(score)
        order = cast("list[int]", table.flatten().argsort(descending=True, stable=True)[:n].tolist())
        return tuple((i // table.shape[1], i % table.shape[1]) for i in order)


def repeated_prompts(model: Model, *, n: int = 8, length: int = 32, seed: int = 0) -> tuple[Prompt, ...]:
    """Random tokens said twice: nothing but the repetition can be predicted."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.tensor(model.tokenizer.ordinary())
    once = words[torch.randint(len(words), (n, length), generator=generator)]
    rows = cast("list[list[TokenId]]", once.tolist())
    return tuple(model.tokenizer.from_ids([*model.tokenizer.bos.ids, *row, *row]) for row in rows)


@torch.no_grad()
def score_heads(
    model: Model, prompts: Sequence[Prompt], *, n_repeated: int = 8, length: int = 32, seed: int = 0
) -> HeadScores:
    """Score every head on a sample of text, and for induction on random repeated tokens."""
    if n_repeated < 1 or length < 2:
        raise CallError(f"Induction needs at least 1 sequence of 2 tokens; these are {n_repeated} of {length}.")
    if not any(len(prompt.ids) > 1 for prompt in prompts):
        raise CallError("To score heads, give text of at least two tokens.")
    text, repeats = _Text(model), _Repeats(model, length)
    for prompt in prompts:
        model.run(prompt, readers={Point.PATTERN: text}, logits="none")
    repeated = repeated_prompts(model, n=n_repeated, length=length, seed=seed)
    for prompt in repeated:
        model.run(prompt, readers={Point.PATTERN: repeats}, logits="none")
    if not (text.sums.isfinite().all() and repeats.sums.isfinite().all()):
        raise WorkError(
            f"{model.name} attends by what is no number in {model.dtype}: its weights are damaged, or this dtype is "
            "too narrow for it; try float32."
        )
    queries = [query for prompt in prompts for query in range(1, len(prompt.ids))]
    entropy, previous, first = text.sums / text.n
    late = range(len(repeated[0].ids) - length, len(repeated[0].ids))
    return HeadScores(
        entropy=entropy,
        previous=previous,
        first=first,
        induction=repeats.sums / repeats.n,
        uniform={
            "entropy": _mean(model, queries, lambda query, seen: math.log2(seen)),
            "previous": _mean(model, queries, lambda query, seen: 1 / seen if seen > 1 else 0.0),
            "first": _mean(model, queries, lambda query, seen: 1 / seen if seen > query else 0.0),
            "induction": _mean(model, late, lambda query, seen: 1 / seen if seen >= length else 0.0),
        },
        n_positions=len(queries),
        n_repeated=n_repeated,
    )


def _mean(model: Model, queries: Sequence[int], score: Callable[[int, int], float]) -> Float[Tensor, " layer"]:
    """Each layer's mean of a score of (query, number of keys that it sees)."""
    windows = model.anatomy.windows
    by_window = {
        window: sum(score(q, q + 1 if window is None else min(q + 1, window)) for q in queries) / len(queries)
        for window in set(windows)
    }
    return torch.tensor([by_window[window] for window in windows])


class _Text:
    """Sums entropy, previous-token and first-token attention as patterns pass; keeps no pattern."""

    def __init__(self, model: Model) -> None:
        self.sums = torch.zeros(3, model.anatomy.n_layers, model.anatomy.n_heads)
        self.n = 0

    def __call__(self, act: Tensor, site: Site, /) -> None:
        pattern = act[0].float()
        assert site.layer is not None, "patterns lie in blocks"
        bits = -(pattern * pattern.clamp(min=1e-30).log2()).sum(-1)
        self.sums[0, site.layer] += bits[:, 1:].sum(-1).cpu()
        self.sums[1, site.layer] += pattern.diagonal(offset=-1, dim1=-2, dim2=-1).sum(-1).cpu()
        self.sums[2, site.layer] += pattern[:, 1:, 0].sum(-1).cpu()
        self.n += pattern.shape[1] - 1 if site.layer == 0 else 0


class _Repeats:
    """Sums the attention from each token of the second saying to the token after its first."""

    def __init__(self, model: Model, length: int) -> None:
        self.sums = torch.zeros(model.anatomy.n_layers, model.anatomy.n_heads)
        self.length = length
        self.n = 0

    def __call__(self, act: Tensor, site: Site, /) -> None:
        assert site.layer is not None, "patterns lie in blocks"
        stripe = act[0].float().diagonal(offset=1 - self.length, dim1=-2, dim2=-1)[:, -self.length :]
        self.sums[site.layer] += stripe.sum(-1).cpu()
        self.n += self.length if site.layer == 0 else 0
