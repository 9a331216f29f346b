"""The model's way through the windows of a reading, a block at a time; and branches off that way.

Windows lie in memory as residuals and go through one block for each layer that is labelled, so that a layer's features
are at hand for all windows at once. Of some windows keys and values of all layers are kept: a branch changes a token
or a residual at one position and goes on from there, attending to what stands before. That is the real model with one
thing changed, exactly, for the price of the positions behind the change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from micrographia.ids import Layer
from micrographia.labels.halves import Reading
from micrographia.model.batch import Batch
from micrographia.model.forward import KeyValues, Stream, forward, onward
from micrographia.model.hooks import Gate, Hooks
from micrographia.model.model import Model
from micrographia.model.site import Point, Site, points_of
from micrographia.store import Progress, silent

__all__ = ["Branch", "Walk"]

_BLOCK = 16
_TOGETHER = 512
"""Positions of branches that go through the model at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """Positions of a window that are computed anew, up to `last`, from the tokens given for them."""

    window: int
    last: int
    ids: tuple[int, ...]

    @property
    def first(self) -> int:
        return self.last - len(self.ids) + 1


@final
class Walk:
    """All windows of a reading, at the residual in front of `layer`."""

    __slots__ = ("_after", "_keys", "_values", "argmax", "before", "branching", "final", "layer", "model", "reading")

    def __init__(self, model: Model, reading: Reading, n_branching: int, progress: Progress = silent) -> None:
        """The first `n_branching` windows that labels are tested on are kept to branch off."""
        self.model, self.reading, self.layer = model, reading, 0
        tested = np.flatnonzero(reading.held.any(1))
        self.branching = tested[:n_branching]
        """The windows that are kept."""
        self.before = _begin(model, torch.from_numpy(reading.ids))
        self._after: Tensor | None = None
        self._keys: dict[Layer, list[Tensor]] = {}
        self._values: dict[Layer, list[Tensor]] = {}
        self.final: Float[Tensor, "branching pos d_model"] = self.before[:0]
        """What the last block leaves, in the windows that are kept."""
        self.argmax = np.full(reading.documents.shape, -1, dtype=np.int64)
        """What the model thinks likeliest behind each row, in the half that labels are tested on."""
        self._look_ahead(tested, progress)

    @torch.no_grad()
    def step(self, see: Callable[[int, Tensor], object], site: Site) -> None:
        """Take all windows through the next block and show what passes at a site in it, with the first one's number."""
        model, layer = self.model, Layer(self.layer)
        if self._after is not None:
            self.before = self._after
        weights = replace(model.weights, blocks=model.weights.blocks[: layer + 1])
        parts: list[Tensor] = []
        for first in range(0, len(self.before), _BLOCK):
            x = self.before[first : first + _BLOCK]
            gate = Gate(Hooks(readers={site: [partial(_seen, see, first)]} if site.layer == layer else {}))
            batch = _batch(torch.from_numpy(self.reading.ids[first : first + _BLOCK]).to(model.device))
            parts.append(onward(weights, model.anatomy, batch, gate, x, layer=layer))
        self._after = torch.cat(parts)
        self.layer += 1

    @property
    def after(self) -> Float[Tensor, "window pos d_model"]:
        """The residual behind the block of the last step."""
        assert self._after is not None, "no step was taken"
        return self._after

    @torch.no_grad()
    def edited(self, branches: Sequence[Branch], site: Site) -> Float[Tensor, "branch wide"]:
        """What passes at a site at the last position of each branch; all are of windows that are kept."""
        assert site.layer is not None, "features lie in blocks"
        model, found = self.model, list[Tensor | None]([None] * len(branches))
        weights = replace(model.weights, blocks=model.weights.blocks[: site.layer + 1])
        for chosen in self._groups([(branch.window, len(branch.ids)) for branch in branches]):
            some = [branches[i] for i in chosen]
            ids = torch.tensor([token for each in some for token in each.ids], device=model.device)[None]
            places = [position for each in some for position in range(each.first, each.last + 1)]
            number = [i for i, each in enumerate(some) for _ in each.ids]
            batch, allowed = self._joined(ids, places, number, [each.first for each in some])
            acts: list[Tensor] = []
            gate = Gate(Hooks(readers={site: [partial(_appended, acts)]}))
            past = self._past(some[0].window, range(site.layer + 1))
            x = _begin(model, ids, batch.positions)
            onward(weights, model.anatomy, batch, gate, x, layer=0, past=past, allowed=allowed)
            ends = np.cumsum([len(each.ids) for each in some]) - 1
            for i, end in zip(chosen, ends.tolist(), strict=True):
                found[i] = acts[0][0, end]
        return torch.stack([each for each in found if each is not None]) if found else self.before.new_zeros(0, 0)

    @torch.no_grad()
    def changed(
        self,
        window: Int64[np.ndarray, " one"],
        position: Int64[np.ndarray, " one"],
        added: Float[Tensor, "one d_model"],
    ) -> Float[Tensor, "one d_model"]:
        """What the last block leaves at each position where something was added behind the block of the last step."""
        model, out = self.model, torch.empty_like(added)
        for chosen in self._groups([(int(w), 1) for w in window]):
            at, places = int(window[chosen[0]]), position[chosen].tolist()
            x = self.after[at, places] + added[chosen].to(self.after.dtype)
            ids = torch.from_numpy(self.reading.ids[at, places]).to(model.device)[None]
            batch, allowed = self._joined(ids, places, list(range(len(chosen))), places)
            past = self._past(at, range(self.layer, model.anatomy.n_layers))
            end = onward(
                model.weights,
                model.anatomy,
                batch,
                Gate(Hooks()),
                x[None],
                layer=self.layer,
                past=past,
                allowed=allowed,
            )
            out[chosen] = end[0].to(out.dtype)
        return out

    # ------------------------------------------------------------ parts

    @torch.no_grad()
    def _look_ahead(self, tested: Int64[np.ndarray, " window"], progress: Progress) -> None:
        """Once through the whole model: its best guesses, and keys and values of the windows to branch off."""
        model, kept = self.model, set(self.branching.tolist())
        key = Point.K_ROT if Point.K_ROT in points_of(model.anatomy) else Point.K
        finals: list[Tensor] = []
        for done in range(0, len(tested), _BLOCK):
            progress("looking ahead", done, len(tested))
            some = tested[done : done + _BLOCK]
            keep = [i for i, window in enumerate(some.tolist()) if window in kept]
            sites = {Site(Point.FINAL_NORM_IN): finals}
            for layer in map(Layer, range(model.anatomy.n_layers)):
                sites[Site(key, layer)] = self._keys.setdefault(layer, [])
                sites[Site(Point.V, layer)] = self._values.setdefault(layer, [])
            readers = {site: [partial(_kept, into, keep)] for site, into in sites.items()}
            ids = torch.from_numpy(self.reading.ids[some]).to(model.device)
            logits = forward(model.weights, model.anatomy, _batch(ids), Gate(Hooks(readers=readers if keep else {})))
            assert logits is not None, "logits were wanted"
            self.argmax[some] = logits[:, 1:].argmax(-1).cpu().numpy()
        progress("looking ahead", len(tested), len(tested))
        self.final = torch.cat(finals) if finals else self.final

    def _groups(self, sizes: Sequence[tuple[int, int]]) -> list[list[int]]:
        """Which branches go together: of one window, and not too many."""
        groups: list[list[int]] = []
        room, before = 0, -1
        for i in sorted(range(len(sizes)), key=lambda i: sizes[i][0]):
            window, size = sizes[i]
            if window != before or room < size:
                groups.append([])
                room, before = _TOGETHER, window
            groups[-1].append(i)
            room -= size
        return groups

    def _past(self, window: int, layers: range) -> KeyValues:
        """Keys and values of a whole window; what a branch may not see of them, its mask forbids."""
        at = int(np.searchsorted(self.branching, window))
        length = self.reading.ids.shape[1]
        device = self.model.device

        def one(of: dict[Layer, list[Tensor]], layer: int) -> Tensor:
            block, row = divmod(at, _BLOCK)
            return of[Layer(layer)][block][row][None]

        return KeyValues(
            keys={Layer(layer): one(self._keys, layer) for layer in layers},
            values={Layer(layer): one(self._values, layer) for layer in layers},
            positions=torch.arange(length, device=device)[None],
            real=torch.ones(1, length, dtype=torch.bool, device=device),
        )

    def _joined(
        self, ids: Int[Tensor, "1 pos"], places: Sequence[int], branch: Sequence[int], first: Sequence[int]
    ) -> tuple[Batch, Bool[Tensor, "1 1 pos key"]]:
        """Branches as the columns of one row, and what each may see: its window up to its start, and itself."""
        device = self.model.device
        position, number = torch.tensor(places, device=device), torch.tensor(branch, device=device)
        start = torch.tensor(first, device=device)[number]
        behind = torch.arange(self.reading.ids.shape[1], device=device)[None] < start[:, None]
        allowed = torch.cat([behind, number[:, None] == number[None]], dim=1)
        batch = Batch(ids, None, position[None], torch.tensor([len(places)], device=device))
        return batch, allowed[None, None]


def _begin(model: Model, ids: Int[Tensor, "row pos"], positions: Int[Tensor, "row pos"] | None = None) -> Stream:
    """The residual in front of the first block."""
    weights, ids = model.weights, ids.to(model.device)
    x = F.embedding(ids, weights.embed)
    if model.anatomy.embed_scale != 1.0:
        x = x * torch.tensor(model.anatomy.embed_scale, dtype=x.dtype, device=x.device)
    if weights.pos_embed is not None:
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        x = x + F.embedding(positions, weights.pos_embed)
    return x


def _batch(ids: Int[Tensor, "window pos"]) -> Batch:
    n, length = ids.shape
    positions = torch.arange(length, device=ids.device).expand(n, length)
    return Batch(ids, None, positions, torch.full((n,), length, device=ids.device))


def _seen(see: Callable[[int, Tensor], object], first: int, act: Tensor, site: Site, /) -> None:
    see(first, act)


def _appended(into: list[Tensor], act: Tensor, site: Site, /) -> None:
    into.append(act)


def _kept(into: list[Tensor], rows: Sequence[int], act: Tensor, site: Site, /) -> None:
    into.append(act[list(rows)].clone())
