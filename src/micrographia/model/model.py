"""One language model, open to be read and changed."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.errors import SiteError
from micrographia.ids import TokenId
from micrographia.model.anatomy import Anatomy
from micrographia.model.batch import Batch, Side
from micrographia.model.edits import Edit
from micrographia.model.forward import KeyValues, Wanted, forward
from micrographia.model.generate import Generation, Sampling, continue_rows
from micrographia.model.hooks import Editor, Gate, Hooks, Reader, joined
from micrographia.model.run import Run
from micrographia.model.site import Point, Site, sites_matching, sites_of
from micrographia.model.surgeon import check_edit, editor_for
from micrographia.model.tokens import Prompt, Tokenizer
from micrographia.model.weights import Weights

__all__ = ["Model", "Prompts", "SiteName"]

Prompts: TypeAlias = str | Prompt | Sequence[str | Prompt]
"""One prompt or several, as text or already tokenised."""
SiteName: TypeAlias = str | Point | Site
"""`resid_post.3` for one site, `resid_post` for one in every layer."""

_AFTER_BLOCKS = (Point.FINAL_NORM_IN, Point.FINAL_NORM_SCALE, Point.FINAL_NORM_OUT, Point.LOGITS)


@final
class Model:
    """Weights, their anatomy, and a tokenizer. Every run goes through the same gate; nothing is patched."""

    __slots__ = ("_attached", "anatomy", "name", "tokenizer", "weights")

    def __init__(self, name: str, anatomy: Anatomy, weights: Weights, tokenizer: Tokenizer) -> None:
        self.name = name
        self.anatomy = anatomy
        self.weights = weights
        self.tokenizer = tokenizer
        self._attached: list[tuple[Mapping[SiteName, Reader], Sequence[Edit]]] = []

    def __repr__(self) -> str:
        a = self.anatomy
        return f"<Model {self.name}: {a.family}, {a.n_layers} layers, {a.n_heads} heads, d_model {a.d_model}>"

    @property
    def device(self) -> torch.device:
        return self.weights.embed.device

    @property
    def dtype(self) -> torch.dtype:
        return self.weights.embed.dtype

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every place that can be read or edited, in the order of the forward pass."""
        return sites_of(self.anatomy)

    def prompts(self, given: Prompts) -> tuple[Prompt, ...]:
        """Tokenise what is still text; from here on a prompt is its ids."""
        several = [given] if isinstance(given, (str, Prompt)) else given
        return tuple(one if isinstance(one, Prompt) else self.tokenizer.prompt(one) for one in several)

    def batch(self, prompts: Sequence[Prompt], *, side: Side = "right") -> Batch:
        return Batch.of([prompt.ids for prompt in prompts], pad=TokenId(0), side=side, device=self.device)

    def run(
        self,
        prompts: Prompts,
        *,
        read: Iterable[SiteName] = (),
        edit: Sequence[Edit] = (),
        readers: Mapping[SiteName, Reader] | None = None,
        logits: Wanted = "all",
        side: Side = "right",
        grad: bool = False,
    ) -> Run:
        """One forward pass. What `read` names is kept, `edit` changes what flows, `readers` look as it passes.

        Editors at a site run before its readers: what is read is what the model went on with.
        """
        tokenised = self.prompts(prompts)
        batch = self.batch(tokenised, side=side)
        acts: dict[Site, Tensor] = {}
        keep = partial(_keep, acts, grad=grad)
        wanted = dict.fromkeys(site for name in read for site in sites_matching(self.anatomy, name))
        hooks = joined(self._hooks(batch, readers or {}, edit), Hooks(readers={site: [keep] for site in wanted}))
        with torch.set_grad_enabled(grad):
            out = self._forward(batch, hooks, None, logits)
        return Run(tokenised, batch, acts, out, self.tokenizer)

    def generate(
        self,
        prompt: str | Prompt,
        *,
        max_new: int = 20,
        edit: Sequence[Edit] = (),
        readers: Mapping[SiteName, Reader] | None = None,
        sampling: Sampling | None = None,
        stop: Sequence[TokenId] | None = None,
        cached: bool = True,
    ) -> Generation:
        """Write on after one prompt, with edits and readers at work on every token."""
        return self.generate_many(
            [prompt], max_new=max_new, edit=edit, readers=readers, sampling=sampling, stop=stop, cached=cached
        )[0]

    def generate_many(
        self,
        prompts: Prompts,
        *,
        max_new: int = 20,
        edit: Sequence[Edit] = (),
        readers: Mapping[SiteName, Reader] | None = None,
        sampling: Sampling | None = None,
        stop: Sequence[TokenId] | None = None,
        cached: bool = True,
    ) -> tuple[Generation, ...]:
        """Write on after several prompts at once. `stop` defaults to the tokenizer's end-of-text tokens."""
        tokenised = self.prompts(prompts)
        self.tokenizer.check_room(max(len(prompt.ids) for prompt in tokenised) + max_new)

        def step(batch: Batch, past: KeyValues | None) -> Float[Tensor, "batch d_vocab"]:
            hooks = self._hooks(batch, readers or {}, edit, beyond=max_new)
            out = self._forward(batch, hooks, past, "last")
            assert out is not None, "logits were wanted"
            return out[:, 0]

        with torch.no_grad():
            rows = continue_rows(
                self.batch(tokenised),
                step,
                max_new=max_new,
                sampling=sampling or Sampling(),
                stop=self.tokenizer.ends if stop is None else stop,
                cached=cached,
            )
        return tuple(
            Generation(prompt, tuple(ids), self.tokenizer.decode(ids))
            for prompt, ids in zip(tokenised, rows, strict=True)
        )

    @contextmanager
    def attached(
        self, *, edit: Sequence[Edit] = (), readers: Mapping[SiteName, Reader] | None = None
    ) -> Generator[None]:
        """Keep edits and readers at work on every run inside the block, outermost first."""
        self._attached.append((readers or {}, edit))
        try:
            yield
        finally:
            self._attached.pop()

    def _hooks(
        self, batch: Batch, readers: Mapping[SiteName, Reader], edits: Sequence[Edit], *, beyond: int = 0
    ) -> Hooks:
        reading: dict[Site, list[Reader]] = {}
        editing: dict[Site, list[Editor]] = {}
        for more_readers, more_edits in [*self._attached, (readers, edits)]:
            for edit in more_edits:
                for site in sites_matching(self.anatomy, edit.where.site):
                    check_edit(edit, site, self.anatomy, batch, beyond=beyond)
                    editing.setdefault(site, []).append(editor_for(edit, batch))
            for name, reader in more_readers.items():
                for site in sites_matching(self.anatomy, name):
                    reading.setdefault(site, []).append(reader)
        return Hooks(reading, editing)

    def _forward(
        self, batch: Batch, hooks: Hooks, past: KeyValues | None, wanted: Wanted
    ) -> Float[Tensor, "batch pos d_vocab"] | None:
        """The pass itself. Hooks behind the blocks always see every position, whatever logits are wanted."""
        watched = {**hooks.readers, **hooks.editors}
        behind = any(site.point in _AFTER_BLOCKS for site in watched)
        depth = None
        if wanted == "none" and not behind and past is None:
            depth = max((site.layer + 1 for site in watched if site.layer is not None), default=0)
        out = forward(
            self.weights,
            self.anatomy,
            batch,
            Gate(hooks),
            past=past,
            wanted="all" if behind else wanted,
            depth=depth,
        )
        if out is None or wanted == "none":
            return None
        if wanted == "last" and behind:
            rows = torch.arange(batch.n_rows, device=out.device)
            return out[rows, batch.last_columns()][:, None]
        return out


def _keep(acts: dict[Site, Tensor], act: Tensor, site: Site, /, *, grad: bool) -> None:
    if site in acts:
        raise SiteError(f"{site} was reached twice in one run.")
    acts[site] = act if grad else act.detach()
