"""The tensors in a folder of safetensors files, by name, mapped from disk when they are asked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, cast, final, runtime_checkable

from safetensors import SafetensorError, safe_open
from torch import Tensor

from micrographia.errors import CacheError, ModelFileError
from micrographia.store import removal_line

__all__ = ["TensorFiles"]


@runtime_checkable
class _Slice(Protocol):
    def get_shape(self) -> list[int]: ...


@runtime_checkable
class _File(Protocol):
    """What is used of an open safetensors file."""

    def keys(self) -> list[str]: ...
    def get_tensor(self, name: str) -> Tensor: ...
    def get_slice(self, name: str) -> _Slice: ...


@final
class TensorFiles(Mapping[str, Tensor]):
    """The tensors of a checkpoint by name. Nothing is read until a tensor is taken, and then it is mapped."""

    __slots__ = ("_files", "_folder", "_ours", "_where")

    def __init__(self, folder: Path, shards: tuple[str, ...], *, ours: bool = False) -> None:
        self._folder = folder
        self._ours = ours
        self._files: dict[str, _File] = {shard: self._opened(shard) for shard in shards}
        self._where = {name: shard for shard, file in self._files.items() for name in file.keys()}  # noqa: SIM118

    def __getitem__(self, name: str) -> Tensor:
        shard = self._where[name]
        try:
            return self._files[shard].get_tensor(name)
        except SafetensorError as error:
            raise self._broken(shard, error) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading the tensor."""
        return tuple(self._files[self._where[name]].get_slice(name).get_shape())

    def _opened(self, shard: str) -> _File:
        try:
            return cast("_File", safe_open(self._folder / shard, framework="pt"))
        except (SafetensorError, OSError) as error:
            raise self._broken(shard, error) from error

    def _broken(self, shard: str, error: Exception) -> CacheError | ModelFileError:
        path = self._folder / shard
        if self._ours:
            return CacheError(f"{path} is damaged ({error}). {removal_line(self._folder)}")
        return ModelFileError(
            f"{path} is not a whole safetensors file ({error}): damaged, or cut short. Fetch it again."
        )
