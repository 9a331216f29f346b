"""Arrays in safetensors files: written whole or not at all, read as they are needed."""

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from micrographia import store
from micrographia.errors import WorkError
from micrographia.model.tensor_files import TensorFiles

__all__ = ["mapped", "write_arrays"]

_FULL = ("os error 28", "os error 27", "os error 122")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays under a name that appears when all of them are on the disk."""
    partial = path.with_name(f".{path.name}.partial")
    with store.writing(path, kind=WorkError, elsewhere="choose another folder."):
        try:
            _save(partial, {name: np.ascontiguousarray(array) for name, array in arrays.items()})
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
            partial.chmod(0o666 & ~store.umask())
            partial.replace(path)
        finally:
            with suppress(FileNotFoundError):
                partial.unlink()


def mapped(path: Path, *, ours: bool = True) -> Mapping[str, np.ndarray]:
    """The arrays of a file, mapped from the disk; one that is damaged is refused in one sentence."""
    return {name: tensor.numpy() for name, tensor in TensorFiles(path.parent, (path.name,), ours=ours).items()}


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    try:
        safetensors.numpy.save_file(arrays, path)
    except SafetensorError as error:  # it wraps what the disk says into words
        code = errno.ENOSPC if any(word in str(error) for word in _FULL) else errno.EIO
        raise OSError(code, str(error), str(path)) from error
