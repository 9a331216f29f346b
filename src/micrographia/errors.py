"""Everything that can go wrong, as one tree.

    MicrographiaError
    ├── CallError              the call was wrong (exit code 2)
    │   ├── PromptError        empty, too long, or a token name that is not one token
    │   ├── SiteError          a place that this model does not have
    │   ├── EditError          an edit that does not fit the activation it edits
    │   ├── ModelNameError     a model name that leads nowhere
    │   ├── BudgetError        more memory would be needed than may be used
    │   └── UnsupportedError   a known thing that is outside what we read
    └── WorkError              the call was right and the work failed (exit code 1)
        ├── ModelFileError     a model's files are missing, broken, or not what they claim
        ├── CacheError         our own files on disk are damaged or cannot be written
        └── OfflineError       something must be fetched and cannot be

Each message is one or two sentences: what was wrong, what is there, what to write instead.
"""

from typing import ClassVar

__all__ = [
    "BudgetError",
    "CacheError",
    "CallError",
    "EditError",
    "MicrographiaError",
    "ModelFileError",
    "ModelNameError",
    "OfflineError",
    "PromptError",
    "SiteError",
    "UnsupportedError",
    "WorkError",
]


class MicrographiaError(Exception):
    """A failure that a person can understand and mend; the command line prints it without a traceback."""

    exit_code: ClassVar[int] = 1


class CallError(MicrographiaError):
    """The call was wrong: nothing was begun."""

    exit_code: ClassVar[int] = 2


class PromptError(CallError):
    """The prompt cannot be read by this model."""


class SiteError(CallError):
    """There is no such place in this model."""


class EditError(CallError):
    """The edit does not fit what it edits."""


class ModelNameError(CallError):
    """No model goes by this name."""


class BudgetError(CallError):
    """More memory would be needed than may be used. A command says the same with its own words for what to change."""

    said: str = ""
    fits: int | None = None

    @classmethod
    def of(cls, said: str, fits: int | None, *, nodes: str = "max_nodes={}", memory: str = "memory=…") -> "BudgetError":
        """What was said, and what to change. `fits` is how many features would do: 0 is none at all, None that the
        prompt alone is too much."""
        instead = "Shorten the prompt" if not fits else f"{nodes.format(fits)} fits"
        error = cls(f"{said} {instead}, or give more: {memory}")
        error.said, error.fits = said, fits
        return error


class UnsupportedError(CallError):
    """Known, but outside what Micrographia reads."""


class WorkError(MicrographiaError):
    """The call was right, the work failed."""


class ModelFileError(WorkError):
    """A model's files are missing, broken, or not what they claim to be."""


class CacheError(WorkError):
    """Our own files on disk are damaged or cannot be written."""


class OfflineError(WorkError):
    """Something has to be fetched, and there is no way to it."""
