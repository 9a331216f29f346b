"""From a GGUF to a folder in Hugging Face's layout, in our cache: once, whole, and in float32.

The work goes on in `NAME-HASH.partial`, shard by shard. A process that dies leaves its finished shards,
and the next one goes on from there; the folder gets its name when everything is in it.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from micrographia import store
from micrographia.errors import ModelFileError
from micrographia.model.dialects import Part, config_of, dialect_of, part_of
from micrographia.model.gguf import GgufFile, read_gguf
from micrographia.model.gguf_tokenizer import write_tokenizer

__all__ = ["HABITS", "Habits", "convert", "models_dir"]

HABITS = "micrographia.json"
_SHARD_BYTES = 256_000_000
_PRODUCER = "micrographia gguf conversion 1"
_INDEX = "model.safetensors.index.json"


class Habits(BaseModel):
    """What a checkpoint records about how it likes to be prompted (`micrographia.json` in its folder)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    bos: int | None = None
    """The token to put in front of plain prompts."""


def models_dir() -> Path:
    """Where converted models lie."""
    return store.cache_dir() / "models"


def convert(
    source: Path,
    *,
    name: str,
    sha256: str,
    habits: Habits | None = None,
    progress: store.Progress = store.silent,
    shard_bytes: int = _SHARD_BYTES,
) -> Path:
    """The folder made from a GGUF of this hash; made now if it is not there yet."""
    folder = models_dir() / f"{name}-{sha256[:12]}"
    if folder.exists():
        return folder
    with store.locked(folder, progress):
        if folder.exists():
            return folder
        partial = folder.with_name(folder.name + ".partial")
        file = read_gguf(source)
        with store.writing(partial):
            partial.mkdir(parents=True, exist_ok=True)
            _fill(file, partial, habits, progress, shard_bytes)
            _sign(partial, name, source.name, sha256, progress)
            partial.replace(folder)
            store.sync_folder(folder.parent)
    return folder


@dataclass(frozen=True, slots=True)
class _Shard:
    name: str
    parts: tuple[Part, ...]
    header: bytes
    n_bytes: int

    @property
    def size(self) -> int:
        return len(self.header) + self.n_bytes


def _fill(file: GgufFile, folder: Path, habits: Habits | None, progress: store.Progress, shard_bytes: int) -> None:
    dialect = dialect_of(file)
    config = config_of(file, dialect)
    parts = [part for name in file.tensors if (part := part_of(file, dialect, name)) is not None]
    shards = _plan(file, parts, shard_bytes)
    total = sum(shard.size for shard in shards)
    todo = [shard for shard in shards if not _finished(folder / shard.name, shard)]
    finished = {shard.name for shard in shards} - {shard.name for shard in todo}
    for path in folder.iterdir():
        if path.name not in finished:
            path.unlink()
    store.check_room(folder, sum(shard.size for shard in todo))
    write_tokenizer(file, folder)
    done = total - sum(shard.size for shard in todo)
    for shard in todo:
        _write_shard(file, folder / shard.name, shard, done, total, progress)
        done += shard.size
    store.write_json(folder / _INDEX, _index(shards))
    store.write_json(folder / "config.json", _spelled_out(config))
    if habits is not None:
        store.write_json(folder / HABITS, habits.model_dump())


def _spelled_out(config: Mapping[str, object]) -> dict[str, object]:
    """The configuration with every default filled in by transformers, so that reading it needs no transformers."""
    from transformers import AutoConfig

    kind = str(config["model_type"])
    whole = AutoConfig.for_model(kind, **{key: value for key, value in config.items() if key != "model_type"}).to_dict()
    return {key: value for key, value in whole.items() if key != "transformers_version"} | {
        "architectures": config["architectures"]
    }


def _plan(file: GgufFile, parts: list[Part], shard_bytes: int) -> list[_Shard]:
    groups: list[list[Part]] = [[]]
    filled = 0
    for part in parts:
        size = 4 * file.tensors[part.source].n_elements
        if groups[-1] and filled + size > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(part)
        filled += size
    return [
        _Shard(f"model-{i:05}-of-{len(groups):05}.safetensors", tuple(group), *_header(file, group))
        for i, group in enumerate(groups, 1)
    ]


def _header(file: GgufFile, parts: list[Part]) -> tuple[bytes, int]:
    """The head of a safetensors file, and how many bytes follow it."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt", "producer": _PRODUCER}}
    at = 0
    for part in parts:
        tensor = file.tensors[part.source]
        end = at + 4 * tensor.n_elements
        entries[part.target] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, at


def _finished(path: Path, shard: _Shard) -> bool:
    """Whether an earlier process has written this very shard; it appears under its name only when whole."""
    if not path.exists() or path.stat().st_size != shard.size:
        return False
    with path.open("rb") as stream:
        return stream.read(len(shard.header)) == shard.header


def _write_shard(file: GgufFile, path: Path, shard: _Shard, done: int, total: int, progress: store.Progress) -> None:
    with store.atomic_file(path, needed=shard.size) as stream:
        stream.write(shard.header)
        for part in shard.parts:
            stream.write(part.restore(file.dequantised(part.source)).data.cast("B"))
            progress("dequantising", done + stream.tell(), total)


def _index(shards: list[_Shard]) -> Mapping[str, object]:
    where = {part.target: shard.name for shard in shards for part in shard.parts}
    return {"metadata": {"total_size": sum(shard.n_bytes for shard in shards)}, "weight_map": where}


def _sign(folder: Path, name: str, source: str, sha256: str, progress: store.Progress) -> None:
    """Weigh the files, and write the manifest."""
    paths = sorted(folder.iterdir())
    records: list[store.FileRecord] = []
    for i, path in enumerate(paths, 1):
        records.append(store.record_file(path))
        progress("weighing", i, len(paths))
    if not any(record.name.endswith(".safetensors") for record in records):
        raise ModelFileError(f"{source} holds no tensors.")
    manifest = store.Manifest(
        kind="model", name=name, source=source, source_sha256=sha256, producer=_PRODUCER, files=tuple(records)
    )
    store.write_json(folder / store.MANIFEST, manifest.model_dump(mode="json"))
