"""What one forward pass left behind: logits, and the activations that were asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.errors import SiteError
from micrographia.ids import TokenId
from micrographia.model.batch import Batch
from micrographia.model.site import Point, Site
from micrographia.model.tokens import Prompt, Tokenizer

__all__ = ["Answer", "Run"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A possible next token."""

    token: TokenId
    piece: str
    probability: float
    logit: float


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """One forward pass. `run["resid_post.3"]` is what was read there, `[batch pos …]` on the model's device."""

    prompts: tuple[Prompt, ...]
    batch: Batch
    acts: Mapping[Site, Tensor]
    computed: Float[Tensor, "batch pos d_vocab"] | None
    tokenizer: Tokenizer

    def __repr__(self) -> str:
        logits = "no logits" if self.computed is None else f"logits {tuple(self.computed.shape)}"
        return f"<Run of {len(self.prompts)} prompts: {logits}, {len(self.acts)} sites read>"

    def __getitem__(self, site: str | Site) -> Tensor:
        site = Site.parse(site) if isinstance(site, str) else site
        if site not in self.acts:
            kept = ", ".join(str(kept) for kept in self.acts) or "nothing"
            raise SiteError(
                f"{site} was not read in this run, which kept {kept}. Ask for it: run(..., read=['{site}'])."
            )
        return self.acts[site]

    @property
    def logits(self) -> Float[Tensor, "batch pos d_vocab"]:
        """The logits at the positions for which they were computed: all, or each row's last."""
        if self.computed is None:
            raise SiteError("This run computed no logits. Ask for them: run(..., logits='all') or logits='last'.")
        return self.computed

    def stack(self, point: str | Point) -> Float[Tensor, "layer batch pos *rest"]:
        """What was read at this point, layer upon layer."""
        layers = sorted(site for site in self.acts if site.point.value == point)
        if not layers:
            raise SiteError(f"Nothing was read at {point} in this run. Ask for it: run(..., read=['{point}']).")
        return torch.stack([self.acts[site] for site in layers])

    def last_logits(self) -> Float[Tensor, "batch d_vocab"]:
        """The logits after each prompt's last token."""
        logits = self.logits
        if logits.shape[1] == 1:
            return logits[:, 0]
        rows = torch.arange(self.batch.n_rows, device=logits.device)
        return logits[rows, self.batch.last_columns()]

    def answers(self, row: int = 0, *, top: int = 5) -> tuple[Answer, ...]:
        """The likeliest next tokens after one prompt."""
        logits = self.last_logits()[row].float()
        probabilities = logits.softmax(-1)
        best = cast("list[TokenId]", probabilities.topk(min(top, len(probabilities))).indices.tolist())
        return tuple(Answer(i, self.tokenizer.piece(i), float(probabilities[i]), float(logits[i])) for i in best)
