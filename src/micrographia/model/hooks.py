"""Readers and editors, and the one gate through which every activation of a forward pass goes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

from micrographia.errors import EditError
from micrographia.ids import Layer
from micrographia.model.site import AXES, Point, Site

__all__ = ["Editor", "Gate", "Hook", "Hooks", "Reader", "checked", "edited", "joined"]


@runtime_checkable
class Reader(Protocol):
    """Looks at an activation. It must not change the tensor; what it keeps, it clones or owns."""

    def __call__(self, act: Tensor, site: Site, /) -> None: ...


@runtime_checkable
class Editor(Protocol):
    """Returns the activation that the model goes on with: the same shape, dtype and device, never `act` changed
    in place (other sites may share its memory)."""

    def __call__(self, act: Tensor, site: Site, /) -> Tensor: ...


Hook = TypeVar("Hook")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Who reads and who edits at which site. Editors run first, in order; readers see what the model goes on with."""

    readers: Mapping[Site, Sequence[Reader]] = field(default_factory=dict[Site, Sequence[Reader]])
    editors: Mapping[Site, Sequence[Editor]] = field(default_factory=dict[Site, Sequence[Editor]])


def joined(first: Hooks, second: Hooks) -> Hooks:
    """Both, the first one's hooks before the second one's."""
    return Hooks(_chain(first.readers, second.readers), _chain(first.editors, second.editors))


def _chain(first: Mapping[Site, Sequence[Hook]], second: Mapping[Site, Sequence[Hook]]) -> dict[Site, Sequence[Hook]]:
    return {site: [*first.get(site, ()), *second.get(site, ())] for site in {**first, **second}}


class Gate:
    """Passes activations on, through the hooks at their site; an edit that changes the shape stops here."""

    __slots__ = ("_editors", "_readers")

    def __init__(self, hooks: Hooks) -> None:
        self._readers = {(site.point, site.layer): list(hooks.readers[site]) for site in hooks.readers}
        self._editors = {(site.point, site.layer): list(hooks.editors[site]) for site in hooks.editors}

    def __call__(self, point: Point, layer: Layer | None, act: Tensor) -> Tensor:
        place = (point, layer)
        editors, readers = self._editors.get(place), self._readers.get(place)
        if editors is None and readers is None:
            return act
        site = Site(point, layer)
        for editor in editors or ():
            act = edited(editor, act, site)
        for reader in readers or ():
            before = _version(act)
            reader(act, site)
            _check_untouched(act, before, site, "reader")
        return act

    def watched(self, point: Point, layer: Layer | None) -> bool:
        """Whether anyone reads or edits here: what nobody watches need not be computed."""
        return (point, layer) in self._readers or (point, layer) in self._editors

    def edits(self, point: Point, layer: Layer | None) -> bool:
        return (point, layer) in self._editors


def edited(editor: Editor, act: Tensor, site: Site) -> Tensor:
    """What an editor makes of an activation, if the model can go on with it."""
    before = _version(act)
    new = checked(editor(act, site), act, site)
    _check_untouched(act, before, site, "editor")
    return new


_read_version: Callable[[Tensor], int] = attrgetter("_version")


def _version(act: Tensor) -> int:
    """How often a tensor's memory has been written to."""
    return 0 if act.is_inference() else _read_version(act)


def _check_untouched(act: Tensor, before: int, site: Site, who: str) -> None:
    if _version(act) != before:
        raise EditError(
            f"The {who} at {site} changed the activation in place, and other sites may share its memory. "
            "Return a new tensor instead: act * 0.5, not act.mul_(0.5)."
        )


def checked(new: object, old: Tensor, site: Site) -> Tensor:
    """What an editor returned, if its shape, dtype and device are those of the activation."""
    if not isinstance(new, Tensor):
        raise EditError(f"The editor at {site} returned {type(new).__name__}; it must return the new activation.")
    if new.shape != old.shape:
        raise EditError(
            f"The editor at {site} returned shape {tuple(new.shape)}; the activation there is "
            f"[{' '.join(AXES[site.point])}] = {tuple(old.shape)}."
        )
    if new.dtype != old.dtype or new.device != old.device:
        raise EditError(
            f"The editor at {site} returned {new.dtype} on {new.device}; the activation is {old.dtype} on {old.device}."
        )
    return new
