"""Packages that only carry files: found without being imported, and used only if their files are those measured."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import final

from micrographia.errors import ModelFileError
from micrographia.store import Progress, sha256_file, silent

__all__ = ["Parcel"]


@final
@dataclass(frozen=True, slots=True)
class Parcel:
    """One package. It comes without its dependencies: nothing here imports it."""

    holds: str
    """What it carries, as a sentence begins: "The embedded model …"."""
    package: str
    """As Python would import it."""
    install_line: str

    def is_installed(self) -> bool:
        """Whether the package is there, without importing it."""
        return self._folder() is not None

    def find(self, name: str) -> Path:
        """A file in the package's folder."""
        folder = self._folder()
        if folder is None:
            raise ModelFileError(
                f"{self.holds} is not installed: there is no package {self.package!r}. Install it: {self.install_line}"
            )
        path = folder / name
        if not path.is_file():
            there = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
            raise ModelFileError(f"{path} is missing; the package holds {there}. Install it again: {self._reinstall()}")
        return path

    def checked(self, name: str, sha256: str, progress: Progress = silent) -> Path:
        """The same file, if it is bit for bit the one that was measured."""
        path = self.find(name)
        found = sha256_file(path, progress)
        if found != sha256:
            raise ModelFileError(
                f"{path} is not the file that was measured: its SHA-256 is {found}, expected {sha256}. "
                f"Install it again: {self._reinstall()}"
            )
        return path

    def _folder(self) -> Path | None:
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(next(iter(spec.submodule_search_locations)))

    def _reinstall(self) -> str:
        return self.install_line.replace("--no-deps", "--force-reinstall --no-deps")
