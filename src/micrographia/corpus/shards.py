"""One file of tokens with the table of its documents, for both splits: written at once, read by mapping it."""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from micrographia.corpus.encoding import Encoded, Ids, IdType
from micrographia.corpus.manifest import BUILD, SPLITS, Split
from micrographia.errors import CacheError
from micrographia.ids import TokenId
from micrographia.store import atomic_file, removal_line

__all__ = ["Draft", "Shard", "Table"]

_Array: TypeAlias = npt.NDArray[np.generic]
_DTYPES = {"U8": "<u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "I64": "<i8"}
_STATE = "state"


@dataclass(frozen=True, slots=True)
class Table:
    """The documents of one split in one shard, in the order in which they were kept."""

    tokens: Ids
    starts: npt.NDArray[np.int64]
    """Where each document begins in `tokens`."""
    sources: npt.NDArray[np.uint16]
    """The number of its source in the recipe."""
    fingerprints: npt.NDArray[np.uint64]
    bands: npt.NDArray[np.uint64]
    names: npt.NDArray[np.uint8]
    name_ends: npt.NDArray[np.int64]

    def name(self, index: int) -> str:
        """What a document is called in its source."""
        begin = int(self.name_ends[index - 1]) if index else 0
        return self.names[begin : int(self.name_ends[index])].tobytes().decode()

    def bounds(self, index: int) -> tuple[int, int]:
        """Where a document begins and ends in `tokens`."""
        last = index + 1 == len(self.starts)
        return int(self.starts[index]), len(self.tokens) if last else int(self.starts[index + 1])


@dataclass(slots=True)
class Draft:
    """A shard that is being filled."""

    dtype: IdType
    front: Sequence[TokenId]
    kept: dict[Split, list[tuple[int, Encoded]]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    n_tokens: int = 0

    def add(self, split: Split, source: int, encoded: Encoded) -> int:
        """Take in a document; the answer is how many tokens it takes."""
        self.kept[split].append((source, encoded))
        n_tokens = len(self.front) + len(encoded.ids)
        self.n_tokens += n_tokens
        return n_tokens

    def write(self, path: Path, state: str) -> None:
        """Write it under its name, whole or not at all. `state` is what the builder wants to find again."""
        arrays = {f"{split}.{key}": array for split in SPLITS for key, array in self._arrays(split).items()}
        with atomic_file(path) as stream:
            stream.write(save(arrays, metadata={_STATE: state}))

    def _arrays(self, split: Split) -> dict[str, _Array]:
        kept = self.kept[split]
        front = np.array(self.front, dtype=self.dtype)
        lengths = [len(front) + len(encoded.ids) for _, encoded in kept]
        names = [encoded.document.name.encode(errors="backslashreplace") for _, encoded in kept]
        nothing = [np.zeros(0, dtype=self.dtype)]
        return {
            "tokens": np.concatenate(nothing + [part for _, encoded in kept for part in (front, encoded.ids)]),
            "starts": np.cumsum([0, *lengths], dtype=np.int64)[:-1],
            "sources": np.array([source for source, _ in kept], dtype=np.uint16),
            "fingerprints": np.array([encoded.fingerprint for _, encoded in kept], dtype=np.uint64),
            "bands": np.array([encoded.bands for _, encoded in kept], dtype=np.uint64).reshape(-1),
            "names": np.frombuffer(b"".join(names), dtype=np.uint8),
            "name_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
        }


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard, mapped: nothing is read until it is looked at."""

    train: Table
    heldout: Table
    state: str

    def table(self, split: Split) -> Table:
        return self.train if split == "train" else self.heldout

    @staticmethod
    def open(path: Path) -> "Shard":
        try:
            arrays, state = _mapped(path)
            train, heldout = (_table(arrays, split) for split in SPLITS)
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            raise CacheError(f"{path} is not a whole shard ({error}). {removal_line(path.parent, by=BUILD)}") from error
        return Shard(train, heldout, state)


def _table(arrays: dict[str, _Array], split: Split) -> Table:
    tokens = arrays[f"{split}.tokens"]
    return Table(
        tokens=cast("Ids", tokens),
        starts=cast("npt.NDArray[np.int64]", arrays[f"{split}.starts"]),
        sources=cast("npt.NDArray[np.uint16]", arrays[f"{split}.sources"]),
        fingerprints=cast("npt.NDArray[np.uint64]", arrays[f"{split}.fingerprints"]),
        bands=cast("npt.NDArray[np.uint64]", arrays[f"{split}.bands"]),
        names=cast("npt.NDArray[np.uint8]", arrays[f"{split}.names"]),
        name_ends=cast("npt.NDArray[np.int64]", arrays[f"{split}.name_ends"]),
    )


def _mapped(path: Path) -> tuple[dict[str, _Array], str]:
    """The arrays of a safetensors file, each a view of the mapped file; safetensors itself copies."""
    whole = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    (size,) = struct.unpack("<Q", whole[:8].tobytes())
    header = cast("dict[str, dict[str, object]]", json.loads(whole[8 : 8 + size].tobytes()))
    state = str(header.pop("__metadata__")[_STATE])
    arrays: dict[str, _Array] = {}
    for name, entry in header.items():
        begin, end = cast("tuple[int, int]", entry["data_offsets"])
        if 8 + size + end > len(whole):
            raise ValueError("it ends too early")
        arrays[name] = whole[8 + size + begin : 8 + size + end].view(_DTYPES[str(entry["dtype"])])
    return arrays, state
