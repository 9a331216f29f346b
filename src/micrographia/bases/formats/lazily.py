"""A mapping whose values are made when they are taken, each time anew: nothing is held that nobody uses.

`once` holds them from the first time on.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Generic, TypeVar, final

__all__ = ["Lazily", "changed", "once"]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Other = TypeVar("_Other")


@final
class Lazily(Mapping[_Key, _Value], Generic[_Key, _Value]):
    """Knows its keys at once and makes a value when it is asked for."""

    __slots__ = ("_makers",)

    def __init__(self, makers: Mapping[_Key, Callable[[], _Value]]) -> None:
        self._makers = dict(makers)

    def __getitem__(self, key: _Key) -> _Value:
        return self._makers[key]()

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __contains__(self, key: object) -> bool:
        return key in self._makers


def changed(source: Mapping[_Key, _Other], change: Callable[[_Key, _Other], _Value]) -> Lazily[_Key, _Value]:
    """The same keys, each value changed when it is taken."""
    makers: dict[_Key, Callable[[], _Value]] = {key: lambda key=key: change(key, source[key]) for key in source}
    return Lazily(makers)


def once(source: Mapping[_Key, _Value]) -> Lazily[_Key, _Value]:
    """The same mapping, each value made when it is first taken, and kept."""
    return Lazily({key: cache(partial(source.__getitem__, key)) for key in source})
