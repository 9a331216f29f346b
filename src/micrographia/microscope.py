"""The microscope: a model and a basis, ready to look at. `micrographia.open()` gives one."""

from collections.abc import Sequence
from typing import final

from micrographia.bases.basis import Basis, Decomposition
from micrographia.bases.named import BasisChoice, ChosenBasis, choose_basis
from micrographia.ids import TokenId
from micrographia.model.direct import Direct, HeadTops, direct_attribution, head_tops
from micrographia.model.frozen import Frozen, freeze
from micrographia.model.heads import HeadScores, score_heads
from micrographia.model.lens import Lens, logit_lens
from micrographia.model.load import load_model
from micrographia.model.model import Model, Prompts
from micrographia.model.tokens import ChatMessage, Prompt
from micrographia.store import Progress, silent

__all__ = ["Microscope", "open"]


@final
class Microscope:
    """A model, a basis, and the instruments that look through both. Tokens may be given as text (" French") or as ids.

    `scope.model` runs, edits, steers and generates; `scope.basis` is what its MLPs are read in. Each instrument is also
    a function in `micrographia.model`, for those who hold only a model.
    """

    __slots__ = ("chosen", "model")

    def __init__(self, model: Model, basis: BasisChoice = None) -> None:
        self.model = model
        self.chosen: ChosenBasis = choose_basis(model, basis)
        """The basis, its name, and what is known about it."""

    def __repr__(self) -> str:
        return f"<Microscope on {self.model!r}, read in {self.chosen.name}>"

    @property
    def basis(self) -> Basis:
        """What the MLPs' outputs are written in."""
        return self.chosen.basis

    def token(self, token: str | int) -> TokenId:
        """The id of a token; text must be exactly one token, its leading space included."""
        return self.model.tokenizer.token(token)

    def lens(self, prompt: str | Prompt, *, watch: str | int | None = None, top: int = 5) -> Lens:
        """What the model would say if it stopped at each layer, position by position."""
        return logit_lens(self.model, prompt, watch=None if watch is None else self.token(watch), top=top)

    def heads(self, prompts: Prompts, *, n_repeated: int = 8, seed: int = 0) -> HeadScores:
        """What every attention head looks at."""
        return score_heads(self.model, self.model.prompts(prompts), n_repeated=n_repeated, seed=seed)

    def head_tops(self, prompt: str | Prompt, *, position: int = -1, top: int = 5) -> HeadTops:
        """The tokens that each head's output promotes."""
        return head_tops(self.model, prompt, position=position, top=top)

    def direct(
        self, prompt: str | Prompt, token: str | int, *, against: str | int | None = None, position: int = -1
    ) -> Direct:
        """How much each layer, head, MLP and neuron adds to a logit, or to a difference of two."""
        other = None if against is None else self.token(against)
        return direct_attribution(self.model, prompt, self.token(token), against=other, position=position)

    def freeze(self, prompt: str | Prompt) -> Frozen:
        """The model as an affine map: patterns, norm scales, gates and soft-caps held as this prompt left them."""
        return freeze(self.model, prompt)

    def decompose(self, prompt: str | Prompt) -> Decomposition:
        """What every MLP writes on this prompt, as a sum of the basis's features."""
        return self.basis.decompose(self.freeze(prompt))

    def chat(self, messages: str | Sequence[ChatMessage]) -> Prompt:
        """A prompt in the model's own chat template: one thing a user says, or a whole conversation."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return self.model.tokenizer.chat(messages)


def open(
    model: str | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    basis: BasisChoice = None,
    progress: Progress = silent,
) -> Microscope:
    """Open the embedded model, or the one named: a folder, a GGUF file, a hub id with an optional @revision.

    `basis` is "neurons" (or "neurons:frozen-gate"), "transcoders" (the set that comes along for the model), a folder
    with transcoders of any tool, or a `Basis`; left out, it is those that come along, or the neurons if none do.
    `device` is cpu, cuda or mps, `dtype` float32, bfloat16, float16 or float64; what is not said is chosen by
    looking at the machine. `progress` hears of long work: unpacking a model for the first time.
    """
    return Microscope(load_model(model, device=device, dtype=dtype, progress=progress), basis)
