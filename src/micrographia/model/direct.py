"""Direct logit attribution: how much each part of the model adds to a logit, or to a difference of two.

Everything that is written to the residual stream is read out by the frozen final norm and the output matrix, which
are affine; so the parts add up to the logit exactly. This counts only direct effects: what a part does through later
parts is credited to those.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.errors import PromptError
from micrographia.ids import Position, TokenId
from micrographia.model.frozen import Frozen, freeze
from micrographia.model.model import Model
from micrographia.model.tokens import Prompt

__all__ = ["Direct", "HeadTops", "direct_attribution", "head_tops"]


@dataclass(frozen=True, slots=True)
class Direct:
    """The parts of one logit (or difference); `total()` is the model's own logit (or difference)."""

    prompt: Prompt
    position: Position
    token: TokenId
    against: TokenId | None
    embed: float
    heads: Float[Tensor, "layer head"]
    attn_biases: Float[Tensor, " layer"]
    mlps: Float[Tensor, " layer"]
    neurons: Float[Tensor, "layer neuron"]
    """How each neuron's share of its MLP's part; what is left of the MLP's part is its output bias."""
    bias: float
    """What the final norm and the output matrix add whatever the residual is."""

    def total(self) -> float:
        return self.embed + self.bias + float(self.heads.sum() + self.attn_biases.sum() + self.mlps.sum())

    def layers(self) -> Float[Tensor, " layer"]:
        """Attention and MLP of each block together."""
        return self.heads.sum(1) + self.attn_biases + self.mlps


@torch.no_grad()
def direct_attribution(
    model: Model, prompt: str | Prompt, token: TokenId, *, against: TokenId | None = None, position: int = -1
) -> Direct:
    """Split the logit of `token` (less that of `against`) at a position into the parts that wrote it."""
    frozen = freeze(model, prompt)
    place = _place(frozen.prompt, position)
    here = slice(place, place + 1)
    reader = frozen.logit_reader(place, token, against)
    read, layers = reader.direction, range(model.anatomy.n_layers)
    return Direct(
        prompt=frozen.prompt,
        position=place,
        token=token,
        against=against,
        embed=float(frozen.embed[place] @ read),
        heads=torch.stack([frozen.heads(layer, here)[:, 0] @ read for layer in layers]),
        attn_biases=torch.stack([frozen.attn_bias(layer)[place] @ read for layer in layers]),
        mlps=torch.stack([frozen.mlp(layer, here)[0] @ read for layer in layers]),
        neurons=torch.stack([frozen.neurons(layer, place) @ read for layer in layers]),
        bias=float(reader.bias),
    )


@dataclass(frozen=True, slots=True)
class HeadTops:
    """The tokens that each head's output at a position promotes most, and by how much of a logit."""

    prompt: Prompt
    position: Position
    tokens: Int[Tensor, "layer head top"]
    logits: Float[Tensor, "layer head top"]


@torch.no_grad()
def head_tops(model: Model, prompt: str | Prompt, *, position: int = -1, top: int = 5) -> HeadTops:
    """Read every head's output at a position through the frozen final norm, against the mean over the vocabulary."""
    frozen = freeze(model, prompt)
    place = _place(frozen.prompt, position)
    best = [_promoted(frozen, layer, place, top) for layer in range(model.anatomy.n_layers)]
    return HeadTops(
        prompt=frozen.prompt,
        position=place,
        tokens=torch.stack([tokens for tokens, _ in best]),
        logits=torch.stack([logits for _, logits in best]),
    )


def _promoted(frozen: Frozen, layer: int, place: int, top: int) -> tuple[Tensor, Tensor]:
    logits = frozen.promotes(frozen.heads(layer, slice(place, place + 1))[:, 0], place)
    best = (logits - logits.mean(-1, keepdim=True)).topk(min(top, logits.shape[-1]), dim=-1)
    return best.indices, best.values


def _place(prompt: Prompt, position: int) -> Position:
    n = len(prompt.ids)
    if not -n <= position < n:
        raise PromptError(
            f"There is no position {position} in a prompt of {n} tokens: 0 to {n - 1}, or -1 for the last."
        )
    return Position(position % n)
