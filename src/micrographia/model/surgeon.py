"""Turns an edit, which is a value, into the editor that carries it out on one batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from jaxtyping import Bool
from torch import Tensor

from micrographia.errors import EditError
from micrographia.model.anatomy import Anatomy
from micrographia.model.batch import Batch
from micrographia.model.edits import Add, Apply, At, Chosen, Edit, Mean, Replace, Resample, Scale
from micrographia.model.hooks import Editor, edited
from micrographia.model.run import Run
from micrographia.model.site import AXES, Point, Site

__all__ = ["check_edit", "editor_for"]


def check_edit(edit: Edit, site: Site, anatomy: Anatomy, batch: Batch, *, beyond: int = 0) -> None:
    """Refuse an edit that names a head, neuron or position that is not there.

    `beyond` is how many tokens will be generated after the prompts.
    """
    axes = AXES[site.point]
    kv = "kv_head" in axes
    heads = anatomy.n_kv_heads if kv else anatomy.n_heads if "head" in axes else None
    if anatomy.qk_norm == "flat" and site.point in (Point.Q_NORM_SCALE, Point.K_NORM_SCALE):
        heads = None  # one scale for all heads
    _check_indices("key-value head" if kv else "head", edit.where.heads, heads, site)
    _check_indices("neuron", edit.where.neurons, anatomy.d_mlp if "neuron" in axes else None, site)
    chosen = edit.where.positions
    if chosen is None or isinstance(chosen, slice):
        if isinstance(edit.change, Resample) and edit.change.source is not None:
            raise EditError("To take from other positions, list the positions to edit, as many as source positions.")
        return
    shortest = int(batch.lengths.min())
    for position in chosen:
        if not -shortest <= position < shortest + beyond:
            which = "the prompt" if len(batch.lengths) == 1 else "the shortest prompt"
            raise EditError(
                f"There is no position {position} to edit at {site}: "
                f"{which} has {shortest} tokens, 0 to {shortest - 1}."
            )
    if isinstance(edit.change, Resample) and edit.change.source is not None and len(edit.change.source) != len(chosen):
        raise EditError(f"{len(chosen)} positions cannot take from {len(edit.change.source)}: list them in pairs.")


def _check_indices(name: str, chosen: Sequence[int] | None, count: int | None, site: Site) -> None:
    if chosen is None:
        return
    if count is None:
        raise EditError(f"{site} has no {name}s to choose from: its axes are [{' '.join(AXES[site.point])}].")
    for index in chosen:
        if not 0 <= index < count:
            raise EditError(f"There is no {name} {index} at {site}: there are {count}, 0 to {count - 1}.")


def editor_for(edit: Edit, batch: Batch) -> Editor:
    """The editor that carries out a checked edit on one batch."""
    return _Surgeon(edit, batch)


@dataclass(frozen=True, slots=True, eq=False)
class _Surgeon:
    edit: Edit
    batch: Batch

    def __call__(self, act: Tensor, site: Site, /) -> Tensor:
        new = self._changed(act, site)
        mask = _mask(self.edit.where, site, act, self.batch)
        return new if mask is None else torch.where(mask, new, act)

    def _changed(self, act: Tensor, site: Site) -> Tensor:
        change = self.edit.change
        match change:
            case Replace(value):
                return _fitting(value, act, site).expand_as(act)
            case Scale(factor):
                return act * factor
            case Add(value):
                return act + _fitting(value, act, site)
            case Mean(reference):
                return _fitting(_mean(reference, site), act, site).expand_as(act)
            case Resample(reference, source):
                return _resampled(reference, source, self.edit.where.positions, site, act, self.batch)
            case Apply(editor):
                return edited(editor, act, site)
            case _:
                assert_never(change)


def _fitting(value: Tensor | float, act: Tensor, site: Site) -> Tensor:
    value = torch.as_tensor(value, dtype=act.dtype, device=act.device)
    trailing = act.shape[act.ndim - value.ndim :]
    if value.ndim > act.ndim or any(
        mine not in (1, theirs) for mine, theirs in zip(value.shape, trailing, strict=True)
    ):
        raise EditError(
            f"A value of shape {tuple(value.shape)} does not fit {site}, where the activation is "
            f"[{' '.join(AXES[site.point])}] = {tuple(act.shape)}."
        )
    return value


def _mean(reference: Run, site: Site) -> Tensor:
    if "query" in AXES[site.point]:
        raise EditError(f"{site} has no mean over positions, since every query has its own keys; use resample.")
    act, real = reference[site], reference.batch.real
    return act.flatten(0, 1).mean(0) if real is None else act[real].mean(0)


def _resampled(
    reference: Run,
    source: tuple[int, ...] | None,
    positions: Chosen,
    site: Site,
    act: Tensor,
    batch: Batch,
) -> Tensor:
    """The activation with the chosen tokens' values taken from the reference."""
    theirs = reference[site].to(act)
    n_rows, n_theirs = act.shape[0], theirs.shape[0]
    if n_theirs not in (1, n_rows):
        raise EditError(f"{site}: a reference of {n_theirs} prompts cannot serve {n_rows}; give 1 or {n_rows}.")
    if "query" in AXES[site.point]:
        if theirs.shape[1:] != act.shape[1:] or source is not None or not _same_places(reference.batch, batch):
            raise EditError(
                f"{site} can be taken only from prompts of the same length, padded alike, position by position."
            )
        return theirs.expand_as(act)
    new = act.clone()
    for mine, wanted in _pairs(positions, source, batch, reference.batch):
        rows, columns = mine.nonzero(as_tuple=True)
        origins = rows if n_theirs > 1 else torch.zeros_like(rows)
        found = _is_at(reference.batch)[origins] & (
            reference.batch.positions[origins] == wanted[rows, columns][:, None]
        )
        if not bool(found.any(dim=1).all()):
            raise EditError(
                f"{site}: the reference prompt of {int(reference.batch.lengths.min())} tokens has no position "
                f"{int(wanted[rows, columns].max())} to take from. Choose positions that both prompts have."
            )
        new[rows, columns] = theirs[origins, found.long().argmax(dim=1)]
    return new


def _same_places(theirs: Batch, mine: Batch) -> bool:
    """Whether the columns of two batches hold the same positions."""
    if not bool((theirs.positions == mine.positions).all()):
        return False
    return bool((_is_at(theirs) == _is_at(mine)).all())


def _pairs(
    positions: Chosen, source: tuple[int, ...] | None, batch: Batch, reference: Batch
) -> Sequence[tuple[Bool[Tensor, "batch pos"], Tensor]]:
    """Columns to edit, with the reference position that each takes from."""
    if source is None or positions is None or isinstance(positions, slice):
        return [(_tokens(positions, batch), batch.positions)]
    lengths = reference.lengths if len(reference.lengths) > 1 else reference.lengths.expand(batch.n_rows)
    pairs = zip(positions, source, strict=True)
    return [
        (
            _tokens((mine,), batch),
            (lengths + theirs if theirs < 0 else torch.full_like(lengths, theirs))[:, None].expand_as(batch.ids),
        )
        for mine, theirs in pairs
    ]


def _is_at(batch: Batch) -> Bool[Tensor, "batch pos"]:
    return torch.ones_like(batch.ids, dtype=torch.bool) if batch.real is None else batch.real


def _tokens(positions: Chosen, batch: Batch) -> Bool[Tensor, "batch pos"]:
    """The columns at which the chosen tokens stand."""
    here, length = batch.positions, batch.lengths[:, None]
    if positions is None:
        return _is_at(batch)
    if isinstance(positions, slice):
        start = _from_end(positions.start or 0, length).clamp(min=0)
        chosen = (here >= start) & ((here - start) % (positions.step or 1) == 0)
        if positions.stop is not None:
            chosen &= here < _from_end(positions.stop, length)
        return chosen & _is_at(batch)
    chosen = torch.zeros_like(here, dtype=torch.bool)
    for position in positions:
        chosen |= here == _from_end(position, length)
    return chosen & _is_at(batch)


def _from_end(position: int, length: Tensor) -> Tensor:
    return length + position if position < 0 else torch.full_like(length, position)


def _mask(where: At, site: Site, act: Tensor, batch: Batch) -> Tensor | None:
    """Which entries the edit touches, ready to broadcast; None for all of them."""
    axes = AXES[site.point]
    masks: list[Tensor] = []
    if where.positions is not None:
        place = axes.index("query") if "query" in axes else axes.index("pos")
        tokens = _tokens(where.positions, batch)
        masks.append(tokens.view(*(size if axis in (0, place) else 1 for axis, size in enumerate(act.shape))))
    for chosen, names in ((where.heads, ("head", "kv_head")), (where.neurons, ("neuron",))):
        if chosen is not None:
            masks.append(_along(next(axes.index(name) for name in names if name in axes), chosen, act))
    if not masks:
        return None
    mask = masks[0]
    for other in masks[1:]:
        mask = mask & other
    return mask


def _along(axis: int, chosen: Sequence[int], act: Tensor) -> Tensor:
    mask = torch.zeros(act.shape[axis], dtype=torch.bool, device=act.device)
    mask[list(chosen)] = True
    return mask.view(*(-1 if other == axis else 1 for other in range(act.ndim)))
