"""Edits as values: where, and what happens there.

    at("z.5", heads=[3]).zero()                                ablate a head
    at("post.2", neurons=[7, 9]).scale(0.5)                    halve two neurons
    at("mlp_out.4").mean(reference)                            replace by the mean over a reference run
    at("resid_post.3", positions=[4]).resample(other)          patch from another run
    at("resid_post.8").add(6.0 * direction)                    steer, also while generating
    at("resid_mid.2").apply(my_editor)                         anything else

Positions count a prompt's own tokens from 0, negative ones from the prompt's end, and a slice may reach into what
is generated after it: `slice(-1, None)` is the last prompt token and everything later. None means every token.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Literal, SupportsIndex, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from micrographia.errors import EditError
from micrographia.model.hooks import Editor
from micrographia.model.run import Run
from micrographia.model.site import Point, Site

__all__ = [
    "Add",
    "Apply",
    "At",
    "Change",
    "Chosen",
    "Edit",
    "Indices",
    "Mean",
    "Positions",
    "Replace",
    "Resample",
    "Scale",
    "at",
]

Indices: TypeAlias = Sequence[int] | Tensor | NDArray[np.integer] | SupportsIndex | None
"""Which heads or neurons; None is all."""
Positions: TypeAlias = Indices | slice
"""Which of a prompt's tokens; None is all, those too that are generated."""
Chosen: TypeAlias = tuple[int, ...] | slice | None
"""The same, checked."""


@dataclass(frozen=True, slots=True, eq=False)
class Replace:
    """The activation becomes `value`, which must broadcast to it."""

    value: Tensor | float
    kind: Literal["replace"] = "replace"


@dataclass(frozen=True, slots=True)
class Scale:
    """The activation is multiplied by `factor`: 0 ablates, 1 changes nothing, 2 doubles."""

    factor: float
    kind: Literal["scale"] = "scale"


@dataclass(frozen=True, slots=True, eq=False)
class Add:
    """`value`, which must broadcast to the activation, is added to it."""

    value: Tensor | float
    kind: Literal["add"] = "add"


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """The activation becomes its mean over the tokens of a reference run."""

    reference: Run
    kind: Literal["mean"] = "mean"


@dataclass(frozen=True, slots=True, eq=False)
class Resample:
    """The activation becomes the reference run's, from the same position or, pair by pair, from `source`."""

    reference: Run
    source: tuple[int, ...] | None
    kind: Literal["resample"] = "resample"


@dataclass(frozen=True, slots=True, eq=False)
class Apply:
    """The activation becomes what an editor makes of it."""

    editor: Editor
    kind: Literal["apply"] = "apply"


Change: TypeAlias = Replace | Scale | Add | Mean | Resample | Apply


@dataclass(frozen=True, slots=True, eq=False)
class At:
    """A place to edit: a site (`z.5`) or a point in every layer (`z`); some or all positions, heads, neurons."""

    site: str | Point | Site
    positions: Chosen = None
    heads: tuple[int, ...] | None = None
    neurons: tuple[int, ...] | None = None

    def zero(self) -> "Edit":
        """Set to zero."""
        return Edit(self, Replace(0.0))

    def set(self, value: Tensor | float) -> "Edit":
        """Set to a value: absolute, not a multiple of what was there."""
        return Edit(self, Replace(value))

    def scale(self, factor: float) -> "Edit":
        """Multiply what is there."""
        return Edit(self, Scale(factor))

    def add(self, value: Tensor | float) -> "Edit":
        """Add to what is there."""
        return Edit(self, Add(value))

    def mean(self, reference: Run) -> "Edit":
        """Replace by the mean over the tokens of a reference run, which must have read the site."""
        return Edit(self, Mean(reference))

    def resample(self, reference: Run, *, source: Indices = None) -> "Edit":
        """Take over what a reference run, which must have read the site, held there.

        Position p takes from position p, or the k-th chosen position from the k-th of `source`. A reference of
        one prompt serves every prompt of a batch; otherwise prompt i takes from prompt i.
        """
        return Edit(self, Resample(reference, _indices("source", source)))

    def apply(self, editor: Editor) -> "Edit":
        """Let a function compute the new activation from the old one."""
        return Edit(self, Apply(editor))


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """One change at one place."""

    where: At
    change: Change


def at(
    site: str | Point | Site,
    *,
    positions: Positions = None,
    heads: Indices = None,
    neurons: Indices = None,
) -> At:
    """Name a place to edit. One index may stand for a list of one; tensors and arrays of indices do as well."""
    return At(site, _positions(positions), _indices("heads", heads), _indices("neurons", neurons))


def _positions(given: Positions) -> Chosen:
    if not isinstance(given, slice):
        return _indices("positions", given)
    step = 1 if given.step is None else index(given.step)
    if step < 1:
        raise EditError(f"Positions run forwards: a slice needs a step of at least 1, and this has {step}.")
    start, stop = (None if end is None else index(end) for end in (given.start, given.stop))
    return slice(start, stop, step)


def _indices(name: str, given: Indices) -> tuple[int, ...] | None:
    if given is None:
        return None
    several: list[object] = list(given) if isinstance(given, Iterable) and _has_axes(given) else [given]
    if any(isinstance(one, bool) or getattr(one, "dtype", None) in _BOOLS for one in several):
        raise EditError(f"{name} takes indices, not a mask of truths: mask.nonzero()[:, 0] gives them.")
    try:
        return tuple(index(cast("SupportsIndex", one)) for one in several)
    except TypeError as error:
        raise EditError(f"{name} is a whole number or a list of them; {given!r} is neither.") from error


def _has_axes(given: object) -> bool:
    """A tensor or an array without axes is one number."""
    return getattr(given, "shape", (1,)) != ()


_BOOLS = (torch.bool, np.dtype(bool))
