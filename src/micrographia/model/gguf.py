"""A GGUF file: what its header says and where its tensors lie. Read here without trusting the file.

The header is walked once over a memory map (0.1 s for a vocabulary of 49,152; `gguf.GGUFReader` makes a
numpy view of every token and takes 4 s). The blocks are dequantised by `gguf.quants`, exactly.
"""

import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from micrographia.errors import ModelFileError, UnsupportedError

__all__ = ["GgufFile", "GgufTensor", "Value", "read_gguf"]

Value: TypeAlias = bool | int | float | str | list[bool] | list[int] | list[float] | list[str]
"""What a key of the header may hold."""

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_ALIGNMENT = 32
_MOST_DIMS = 8


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor as it lies in the file; `shape` is in the order of Hugging Face, slowest first."""

    name: str
    shape: tuple[int, ...]
    quantisation: int
    start: int
    n_bytes: int

    @property
    def n_elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufFile:
    """An open GGUF file."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: Mapping[str, GgufTensor]
    data: mmap.mmap

    @property
    def arch(self) -> str:
        return self.text("general.architecture")

    def text(self, key: str) -> str:
        value = self.metadata.get(key)
        if not isinstance(value, str):
            raise ModelFileError(f"{self.path} has no text under {key!r}, which a GGUF model needs.")
        return value

    def texts(self, key: str) -> list[str]:
        value = self.metadata.get(key)
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise ModelFileError(f"{self.path} has no list of texts under {key!r}, which a GGUF model needs.")
        return cast("list[str]", value)

    def numbers(self, key: str) -> list[int]:
        """A list of whole numbers; an absent key is an empty list."""
        value = self.metadata.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, int) for entry in value):
            raise ModelFileError(f"{self.path} has something else than whole numbers under {key!r}.")
        return cast("list[int]", value)

    def whole(self, key: str) -> int | None:
        """A whole number; None where the key is absent."""
        value = self.metadata.get(key)
        if value is not None and not isinstance(value, int):
            raise ModelFileError(f"{self.path} has {value!r} under {key!r}, where a whole number belongs.")
        return value

    def number(self, key: str, default: float) -> float:
        """A number, whole or not."""
        value = self.metadata.get(key, default)
        if not isinstance(value, (int, float)):
            raise ModelFileError(f"{self.path} has {value!r} under {key!r}, where a number belongs.")
        return float(value)

    def dequantised(self, name: str) -> NDArray[np.float32]:
        """A tensor in float32, in Hugging Face's order of dimensions, otherwise as the file has it."""
        from gguf.constants import GGMLQuantizationType
        from gguf.quants import dequantize, quant_shape_to_byte_shape

        tensor = self.tensors[name]
        kind = GGMLQuantizationType(tensor.quantisation)
        raw = np.frombuffer(self.data, np.uint8, tensor.n_bytes, tensor.start)
        exact = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}
        if kind in exact:
            return raw.view(exact[kind]).astype(np.float32).reshape(tensor.shape)
        try:
            out = dequantize(raw.reshape(quant_shape_to_byte_shape(tensor.shape, kind)), kind)
        except (NotImplementedError, ValueError) as error:
            raise UnsupportedError(
                f"{self.path}: the tensor {name!r} is {kind.name}, which is not read: {error}"
            ) from error
        return np.asarray(out, np.float32).reshape(tensor.shape)


def read_gguf(path: Path) -> GgufFile:
    """Open a GGUF file, refusing what is not one, is cut short, or is of a version not read."""
    size = path.stat().st_size
    if size < 24:
        raise ModelFileError(f"{path} is not a GGUF file: it has only {size} bytes.")
    with path.open("rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    if data[:4] != _MAGIC:
        raise ModelFileError(
            f"{path} is not a GGUF file: it begins with {data[:4]!r} instead of {_MAGIC!r}. "
            "Give the path of a .gguf file, or of a folder with config.json and safetensors."
        )
    version = int.from_bytes(data[4:8], "little")
    if version not in _VERSIONS:
        big = " It is written for big-endian machines." if data[4:6] == b"\0\0" else ""
        raise UnsupportedError(f"{path} is GGUF version {version}; versions 2 and 3 are read.{big}")
    cursor = _Cursor(path, data, 8)
    try:
        return _read(cursor)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise ModelFileError(
            f"{path} has a damaged GGUF header near byte {cursor.at} of {size} ({error}). Fetch it again."
        ) from error


def _read(cursor: "_Cursor") -> GgufFile:
    n_tensors, n_keys = cursor.unpack("QQ")
    metadata: dict[str, Value] = {}
    for _ in range(n_keys):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.unpack("I")[0])
    entries = [cursor.tensor() for _ in range(n_tensors)]
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"an alignment of {alignment!r}")
    begin = -(-cursor.at // alignment) * alignment
    tensors = {entry[0]: _located(cursor, begin, *entry) for entry in entries}
    if len(tensors) != len(entries):
        raise ValueError("two tensors of one name")
    return GgufFile(cursor.path, metadata, tensors, cursor.data)


def _located(cursor: "_Cursor", begin: int, name: str, shape: tuple[int, ...], kind: int, offset: int) -> GgufTensor:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (KeyError, ValueError) as error:
        raise UnsupportedError(f"{cursor.path}: the tensor {name!r} is of type {kind}, which is not read.") from error
    if not shape or shape[-1] % block:
        raise ValueError(f"the tensor {name!r} of shape {shape} in blocks of {block}")
    start, n_bytes = begin + offset, prod(shape) // block * block_bytes
    if start + n_bytes > len(cursor.data):
        raise ModelFileError(
            f"{cursor.path} is cut short: the tensor {name!r} ends at byte {start + n_bytes}, "
            f"and the file has {len(cursor.data)}. Fetch the file again."
        )
    return GgufTensor(name, shape, kind, start, n_bytes)


class _Cursor:
    """A place in the file, moving forward."""

    __slots__ = ("at", "data", "path")

    def __init__(self, path: Path, data: mmap.mmap, at: int) -> None:
        self.path, self.data, self.at = path, data, at

    def unpack(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return found

    def string(self) -> str:
        length = self.unpack("Q")[0]
        self.reach(length)
        text = self.data[self.at : self.at + length].decode("utf-8")
        self.at += length
        return text

    def reach(self, length: int) -> None:
        """Refuse a length that leads out of the file, before anything of that length is made."""
        if self.at + length > len(self.data):
            raise ValueError(f"a length of {length}, which leads out of the file")

    def value(self, kind: int) -> Value:
        if kind == _STRING:
            return self.string()
        if kind in _SCALARS:
            return self.unpack(_SCALARS[kind])[0]
        if kind != _ARRAY:
            raise ValueError(f"a value of type {kind}")
        inner, count = self.unpack("IQ")
        if inner == _STRING:
            self.reach(8 * count)
            read: Callable[[], str] = self.string
            return [read() for _ in range(count)]
        if inner not in _SCALARS:
            raise ValueError(f"an array of type {inner}")
        self.reach(count)
        return list(self.unpack(f"{count}{_SCALARS[inner]}"))

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.string()
        n_dims = self.unpack("I")[0]
        if n_dims > _MOST_DIMS:
            raise ValueError(f"the tensor {name!r} with {n_dims} dimensions")
        shape = self.unpack(f"{n_dims}Q")
        kind, offset = self.unpack("IQ")
        return name, tuple(reversed(shape)), kind, offset
