"""One language model, open to be read and changed."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.errors import CallError, EditError, PromptError, SiteError
from micrographia.ids import TokenId
from micrographia.model.anatomy import Anatomy
from micrographia.model.batch import Batch, Side
from micrographia.model.edits import At, Edit
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


@dataclass(frozen=True, slots=True, eq=False)
class _Attached:
    """Readers and edits that work together on a run."""

    readers: Mapping[SiteName, Reader]
    edits: tuple[Edit, ...]


@final
class Model:
    """Weights, their anatomy, and a tokenizer. Every run goes through the same gate; nothing is patched."""

    __slots__ = ("_attached", "anatomy", "name", "tokenizer", "weights")

    def __init__(self, name: str, anatomy: Anatomy, weights: Weights, tokenizer: Tokenizer) -> None:
        self.name = name
        self.anatomy = anatomy
        self.weights = weights
        self.tokenizer = tokenizer
        self._attached: ContextVar[tuple[_Attached, ...]] = ContextVar("attached", default=())

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
        several = [given] if isinstance(given, (str, Prompt)) else list(given)
        if not several:
            raise PromptError("There is no prompt. Give a text, a Prompt, or a list of them.")
        return tuple(self.prompt(one) for one in several)

    def prompt(self, given: str | Prompt) -> Prompt:
        """One prompt, tokenised by this model."""
        if isinstance(given, str):
            return self.tokenizer.prompt(given)
        if not isinstance(given, Prompt):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PromptError(
                f"A prompt is a text or a Prompt, and this is a {type(given).__name__}. "
                "Token ids become a prompt by model.tokenizer.from_ids(ids)."
            )
        if max(given.ids) >= self.anatomy.d_vocab:
            raise PromptError(
                f"This prompt has the token {max(given.ids)}, and {self.name} ends at {self.anatomy.d_vocab - 1}: "
                "it was tokenised for another model."
            )
        self.tokenizer.check_room(len(given.ids))
        return given

    def batch(self, prompts: Sequence[Prompt], *, side: Side = "right") -> Batch:
        return Batch.of([prompt.ids for prompt in prompts], pad=TokenId(0), side=side, device=self.device)

    def run(
        self,
        prompts: Prompts,
        *,
        read: SiteName | Iterable[SiteName] = (),
        edit: Edit | Sequence[Edit] = (),
        readers: Mapping[SiteName, Reader] | None = None,
        logits: Wanted = "all",
        side: Side = "right",
        grad: bool = False,
    ) -> Run:
        """One forward pass. What `read` names is kept, `edit` changes what flows, `readers` look as it passes.

        Editors at a site run before its readers: what is read is what the model went on with.
        """
        if logits not in ("all", "last", "none"):
            raise CallError(f"logits is 'all', 'last' or 'none', not {logits!r}.")
        tokenised = self.prompts(prompts)
        batch = self.batch(tokenised, side=side)
        acts: dict[Site, Tensor] = {}
        keep = partial(_keep, acts, grad=grad)
        names = [read] if isinstance(read, (str, Site)) else read
        wanted = dict.fromkeys(site for name in names for site in sites_matching(self.anatomy, name))
        hooks = joined(self._hooks(batch, readers or {}, edit), Hooks(readers={site: [keep] for site in wanted}))
        with torch.set_grad_enabled(grad):
            out = self._forward(batch, hooks, None, logits)
        return Run(tokenised, batch, acts, out, self.tokenizer)

    def generate(
        self,
        prompt: str | Prompt,
        *,
        max_new: int = 20,
        edit: Edit | Sequence[Edit] = (),
        readers: Mapping[SiteName, Reader] | None = None,
        sampling: Sampling | None = None,
        stop: TokenId | Sequence[TokenId] | None = None,
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
        edit: Edit | Sequence[Edit] = (),
        readers: Mapping[SiteName, Reader] | None = None,
        sampling: Sampling | None = None,
        stop: TokenId | Sequence[TokenId] | None = None,
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
                stop=self.tokenizer.ends if stop is None else [stop] if isinstance(stop, int) else stop,
                cached=cached,
            )
        return tuple(
            Generation(prompt, tuple(ids), self.tokenizer.decode(ids))
            for prompt, ids in zip(tokenised, rows, strict=True)
        )

    @contextmanager
    def attached(
        self, *, edit: Edit | Sequence[Edit] = (), readers: Mapping[SiteName, Reader] | None = None
    ) -> Generator[None]:
        """Keep edits and readers at work on every run inside the block, outermost first."""
        mine = _Attached(dict(readers or {}), _several_edits(edit))
        self._attached.set((*self._attached.get(), mine))
        try:
            yield
        finally:
            self._attached.set(tuple(other for other in self._attached.get() if other is not mine))

    @property
    def attached_edits(self) -> tuple[Edit, ...]:
        """The edits that are at work on every run just now."""
        return tuple(edit for attached in self._attached.get() for edit in attached.edits)

    def _hooks(
        self, batch: Batch, readers: Mapping[SiteName, Reader], edits: Edit | Sequence[Edit], *, beyond: int = 0
    ) -> Hooks:
        reading: dict[Site, list[Reader]] = {}
        editing: dict[Site, list[Editor]] = {}
        for attached in (*self._attached.get(), _Attached(readers, _several_edits(edits))):
            for edit in attached.edits:
                for site in sites_matching(self.anatomy, edit.where.site):
                    check_edit(edit, site, self.anatomy, batch, beyond=beyond)
                    editing.setdefault(site, []).append(editor_for(edit, batch))
            for name, reader in attached.readers.items():
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


def _several_edits(given: Edit | Sequence[Edit]) -> tuple[Edit, ...]:
    several = (given,) if isinstance(given, (Edit, At)) else tuple(given)
    for edit in several:
        if not isinstance(edit, Edit):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise EditError(
                f"An edit says where and what, as in at('z.5', heads=[3]).zero(); this is a {type(edit).__name__}."
            )
    return several


def _keep(acts: dict[Site, Tensor], act: Tensor, site: Site, /, *, grad: bool) -> None:
    if site in acts:
        raise SiteError(f"{site} was reached twice in one run.")
    acts[site] = act if grad else act.detach()
