"""A model on the hub: fetched when the hub answers, otherwise as it lies in the hub's own cache."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

from micrographia.errors import ModelNameError, OfflineError
from micrographia.store import writing

__all__ = ["fetch"]

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATTERNS = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
    "tokenizer*",
    "*token*.json",
    "vocab.*",
    "merges.txt",
    "chat_template*",
]
_PATIENCE = 10.0
"""Seconds that the hub has for its first answer."""


def fetch(identity: str, revision: str | None) -> Path:
    """The snapshot's folder, fetched if the hub answers, or as it lies in the hub's cache."""
    from huggingface_hub import HfApi, errors

    network: type[Exception] = vars(errors)["HTTPError"]  # its client's, whichever that is
    fixed = revision is not None and _COMMIT.fullmatch(revision) is not None
    try:
        if fixed and (kept := _kept(identity, revision)) is not None:
            return kept
        HfApi().model_info(identity, revision=revision, timeout=_PATIENCE)
        with writing(Path(_hub_cache())):
            return _snapshot(identity, revision)
    except errors.HFValidationError as error:
        raise ModelNameError(f"{identity!r} is not a name that the hub allows: {error}") from error
    except errors.RevisionNotFoundError as error:
        raise ModelNameError(
            f"{identity} has no revision {revision!r}. Leave '@{revision}' out for the newest."
        ) from error
    except (OSError, network) as error:
        kept = _kept(identity, revision)
        if kept is None:
            raise _unreached(identity, revision, error) from error
        return kept


def _kept(identity: str, revision: str | None) -> Path | None:
    from huggingface_hub import errors

    try:
        return _snapshot(identity, revision, local_files_only=True)
    except errors.LocalEntryNotFoundError:
        return None


def _snapshot(identity: str, revision: str | None, **how: bool) -> Path:
    import huggingface_hub

    download = cast("Callable[..., str]", huggingface_hub.snapshot_download)
    return Path(download(identity, revision=revision, allow_patterns=_PATTERNS, **how))


def _hub_cache() -> str:
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE


def _unreached(identity: str, revision: str | None, error: Exception) -> ModelNameError | OfflineError:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return ModelNameError(
            f"{identity} is gated: accept its terms on its page of the hub, then log in: hf auth login"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelNameError(
            f"The hub has no model {identity!r}, or it is private and you are not logged in: hf auth login"
        )
    at = f" --revision {revision}" if revision else ""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return OfflineError(
        f"{identity} is not in the hub's cache ({_hub_cache()}) and the hub cannot be reached ({reason}): "
        "use the embedded model ('smollm2'), a local folder or .gguf file, or run "
        f"'hf download {identity}{at}' on a machine with a network and copy the folder here."
    )
