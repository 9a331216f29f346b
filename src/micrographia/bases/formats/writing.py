"""Folders that appear whole or not at all, and safetensors files written tensor by tensor."""

import json
import os
import shutil
import struct
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from micrographia import store
from micrographia.errors import CallError, WorkError

__all__ = ["new_folder", "refuse_taken", "write_json", "write_tensors", "write_text"]

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int8: "I8"}


@contextmanager
def new_folder(path: Path) -> Generator[Path]:
    """A folder to fill. It gets its name when the work is done; if that fails, nothing of it is left."""
    refuse_taken(path)
    with store.writing(path, kind=WorkError, elsewhere="write elsewhere."):
        partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        try:
            yield partial
            partial.chmod(0o777 & ~store.umask())
            store.sync_folder(partial)
            refuse_taken(path)
            partial.replace(path)
            store.sync_folder(path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def refuse_taken(path: Path) -> None:
    """Refuse a name that is in use, or that has no folder to lie in."""
    if path.exists() or path.is_symlink():
        raise CallError(f"{path} is there already, and nothing is written over: choose another name, or delete it.")
    if not path.parent.is_dir():
        raise CallError(f"There is no folder {path.parent} to write {path.name} into.")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, written without a second copy of the tensors."""
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in ordered:
        end = at + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with _synced(path) as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        for _, tensor in ordered:
            stream.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)


def write_text(path: Path, text: str) -> None:
    """A text file."""
    with _synced(path) as stream:
        stream.write(text.encode())


def write_json(path: Path, content: object) -> None:
    """A JSON file."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


@contextmanager
def _synced(path: Path) -> Generator[BinaryIO]:
    with path.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
