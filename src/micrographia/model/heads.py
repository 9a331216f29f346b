"""What attention heads look at: scores of their patterns, each beside what uniform attention would score."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.errors import CallError
from micrographia.ids import TokenId
from micrographia.model.model import Model
from micrographia.model.site import Point, Site
from micrographia.model.tokens import Prompt

__all__ = ["HeadScores", "Score", "repeated_prompts", "score_heads"]

Score = Literal["entropy", "previous", "first", "induction"]


@dataclass(frozen=True, slots=True)
class HeadScores:
    """Per head, means over the positions of a sample. `uniform` holds the same means for uniform attention.

    entropy: of the pattern, in bits. previous, first: the attention paid to the token just before, and to position 0.
    induction: on random sequences said twice, the attention paid to the token after the earlier copy.
    """

    entropy: Float[Tensor, "layer head"]
    previous: Float[Tensor, "layer head"]
    first: Float[Tensor, "layer head"]
    induction: Float[Tensor, "layer head"]
    uniform: Mapping[Score, float]
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
    if not any(len(prompt.ids) > 1 for prompt in prompts):
        raise CallError("To score heads, give text of at least two tokens.")
    text, repeats = _Text(model), _Repeats(model, length)
    for prompt in prompts:
        model.run(prompt, readers={Point.PATTERN: text}, logits="none")
    repeated = repeated_prompts(model, n=n_repeated, length=length, seed=seed)
    for prompt in repeated:
        model.run(prompt, readers={Point.PATTERN: repeats}, logits="none")
    queries = [len(prompt.ids) for prompt in prompts]
    entropy, previous, first = text.sums / text.n
    keys = [q + 1 for n in queries for q in range(1, n)]
    late = range(len(repeated[0].ids) - length, len(repeated[0].ids))
    return HeadScores(
        entropy=entropy,
        previous=previous,
        first=first,
        induction=repeats.sums / repeats.n,
        uniform={
            "entropy": sum(map(math.log2, keys)) / len(keys),
            "previous": sum(1 / key for key in keys) / len(keys),
            "first": sum(1 / key for key in keys) / len(keys),
            "induction": sum(1 / (q + 1) for q in late) / length,
        },
        n_positions=len(keys),
        n_repeated=n_repeated,
    )


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
