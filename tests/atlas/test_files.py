"""Arrays come back as they were, in files that others may read."""

from pathlib import Path

import numpy as np
import pytest

from micrographia.atlas.files import mapped, write_arrays
from micrographia.errors import CacheError, ModelFileError


def test_arrays_come_back_and_the_file_is_readable(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.uint16).reshape(2, 3).T,
        "b": np.zeros((0, 4), np.uint8),
        "c": np.ones(2, np.float16),
    }
    write_arrays(tmp_path / "x.safetensors", arrays)
    (tmp_path / "plain").touch()
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
    found = mapped(tmp_path / "x.safetensors")
    assert all(np.array_equal(found[key], array) and found[key].dtype == array.dtype for key, array in arrays.items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain", "x.safetensors"]


@pytest.mark.parametrize(("ours", "error"), [(True, CacheError), (False, ModelFileError)])
def test_a_file_that_is_none_gets_one_sentence(ours: bool, error: type[Exception], tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(error, match=r"x\.safetensors is"):
        mapped(tmp_path / "x.safetensors", ours=ours)
