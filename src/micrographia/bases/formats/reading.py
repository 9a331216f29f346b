"""Other tools' files, read with suspicion: names, shapes and values are checked against a table before use."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias, cast, runtime_checkable

import torch
import yaml
from pydantic import JsonValue
from torch import Tensor

from micrographia.bases.formats.lazily import Lazily
from micrographia.bases.formats.parts import AXES, Role, finite
from micrographia.errors import CallError, ModelFileError, UnsupportedError
from micrographia.ids import Layer
from micrographia.model.tensor_files import TensorFiles

__all__ = [
    "Layout",
    "Part",
    "Settings",
    "below",
    "known_keys",
    "listed",
    "one_per_layer",
    "open_safetensors",
    "read_json",
    "read_yaml",
    "refuse_pickle",
]

Settings: TypeAlias = Mapping[str, JsonValue]

_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@runtime_checkable
class _Shaped(Protocol):
    """Tensors whose shapes are known without reading them."""

    def shape(self, name: str) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of a tool's file: its name there, its role here, its axes there, and whether it may be missing."""

    name: str
    role: Role
    axes: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The tensors of one layer in a tool's files; `{layer}` in a name stands for the layer's number."""

    parts: tuple[Part, ...]
    ignored: frozenset[str] = field(default=frozenset[str]())

    def read(self, tensors: Mapping[str, Tensor], layer: int, where: str) -> Mapping[str, Tensor]:
        """The tensors by role, with our axes, in float32; shapes are checked now, values when they are taken."""
        there = self._there(tensors, layer, where)
        makers: dict[str, Callable[[], Tensor]] = {
            part.role: lambda part=part, name=name: _taken(tensors[name], part, f"{name} in {where}")
            for name, part in there.items()
        }
        return Lazily(makers)

    def written(self, parts: Mapping[str, Tensor], layer: int, dtype: torch.dtype, where: str) -> dict[str, Tensor]:
        """The tensors of a layer under the tool's names, with the tool's axes."""
        return {
            part.name.format(layer=layer): finite(
                _ordered(parts[part.role].detach().to("cpu", dtype), AXES[part.role], part.axes.split()),
                f"The {part.role.replace('_', ' ')} of layer {layer} of {where}",
            )
            for part in self.parts
            if part.role in parts
        }

    def _there(self, tensors: Mapping[str, Tensor], layer: int, where: str) -> dict[str, Part]:
        named = {part.name.format(layer=layer): part for part in self.parts}
        missing = [name for name, part in named.items() if not part.optional and name not in tensors]
        unknown = [name for name in tensors if name not in named and name not in self.ignored]
        if missing or unknown:
            complaints = [f"lacks {listed(missing)}"] * bool(missing) + [
                f"holds {listed(unknown)}, which nothing here understands"
            ] * bool(unknown)
            raise ModelFileError(f"{where} {' and '.join(complaints)}; its tensors should be {listed(named)}.")
        there = {name: part for name, part in named.items() if name in tensors}
        _check_shapes({name: (part.axes.split(), _shape(tensors, name)) for name, part in there.items()}, where)
        return there


def below(folder: Path, pattern: str) -> list[Path]:
    """The files of this name in a folder and up to three folders deeper."""
    return sorted(path for depth in range(4) for path in folder.glob("*/" * depth + pattern) if path.is_file())


def one_per_layer(paths: Iterable[Path], layer_of: Callable[[Path], int | None], folder: Path) -> dict[Layer, Path]:
    """Each file under the layer that its name tells; two of one layer, or one of no layer, are refused."""
    found: dict[Layer, Path] = {}
    for path in paths:
        number, shown = layer_of(path), path.relative_to(folder).as_posix()
        if number is None:
            raise UnsupportedError(f"{folder} holds {shown}, whose layer cannot be told.")
        if Layer(number) in found:
            other = found[Layer(number)].relative_to(folder).as_posix()
            raise CallError(
                f"{folder} holds {other} and {shown}, both of layer {number}: give a folder with one of each layer."
            )
        found[Layer(number)] = path
    return dict(sorted(found.items()))


def open_safetensors(path: Path) -> TensorFiles:
    """The tensors of a safetensors file, mapped when taken."""
    refuse_pickle(path)
    return TensorFiles(path.parent, (path.name,))


def refuse_pickle(path: Path) -> None:
    """Refuse what calls itself something else and is a pickle, which could run code when opened."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.") from error
    if start.startswith(_PICKLES):
        raise UnsupportedError(
            f"{path} is a pickle, which can run code when it is opened, and not a safetensors file; it is not opened."
        )


def read_json(path: Path) -> Settings:
    """A JSON object."""
    try:
        return _settings(json.loads(path.read_bytes()), path, "JSON")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read as JSON: {error}.") from error


def read_yaml(path: Path) -> Settings:
    """A YAML mapping; only plain values, no tags."""
    try:
        return _settings(yaml.safe_load(path.read_bytes()), path, "YAML")
    except (OSError, yaml.YAMLError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}.") from error


def known_keys(settings: Settings, needed: Sequence[str], also: Sequence[str], where: str) -> None:
    """Refuse settings that lack a key, or have one that nothing here understands."""
    missing = [key for key in needed if key not in settings]
    unknown = [key for key in settings if key not in needed and key not in also]
    if missing:
        raise ModelFileError(f"{where} lacks {listed(missing)}; it has {listed(settings) or 'nothing'}.")
    if unknown:
        raise UnsupportedError(
            f"{where} has {listed(unknown)}, which nothing here understands; known are {listed((*needed, *also))}."
        )


def listed(names: Sequence[str] | Mapping[str, object]) -> str:
    """Some names, and how many more."""
    every = list(names)
    return ", ".join(every[:12]) + (f" and {len(every) - 12} more" if len(every) > 12 else "")


def _settings(raw: object, path: Path, language: str) -> Settings:
    if not isinstance(raw, dict):
        raise ModelFileError(f"{path} holds no {language} mapping.")
    return cast("Settings", raw)


def _taken(tensor: Tensor, part: Part, where: str) -> Tensor:
    if tensor.dtype not in _FLOATS:
        raise UnsupportedError(f"{where} holds {tensor.dtype}; floats of 16, 32 or 64 bits are read.")
    return finite(_ordered(tensor.to(torch.float32), part.axes.split(), AXES[part.role]), where)


def _ordered(tensor: Tensor, axes: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """With the axes in this order, also in memory, so that a product sums in the same order whoever wrote the file."""
    return tensor.permute([list(axes).index(axis) for axis in wanted]).contiguous()


def _shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    return tensors.shape(name) if isinstance(tensors, _Shaped) else tuple(tensors[name].shape)


def _check_shapes(tensors: Mapping[str, tuple[Sequence[str], tuple[int, ...]]], where: str) -> None:
    """Every axis must have one length throughout the file; a skip path leads from d_model to d_model."""
    sizes: dict[str, tuple[int, str]] = {}
    for name, (axes, shape) in tensors.items():
        if len(axes) != len(shape):
            raise ModelFileError(f"{name} in {where} has shape {shape}; it must be [{' '.join(axes)}].")
        for axis, size in zip(axes, shape, strict=True):
            first, by = sizes.setdefault("d_model" if axis in ("d_out", "d_in") else axis, (size, name))
            if size != first:
                raise ModelFileError(
                    f"{name} in {where} has shape {shape}, which must be [{' '.join(axes)}]: "
                    f"{axis} is {size} here and {first} in {by}."
                )
    if 0 in {size for size, _ in sizes.values()}:
        raise ModelFileError(f"{where} holds empty tensors.")
