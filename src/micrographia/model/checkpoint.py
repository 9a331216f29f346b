"""A model on disk: a folder with `config.json`, tokenizer and safetensors, found by name and looked over.

`locate` takes what a person writes for a model (nothing, a folder, a GGUF file, a hub id) and returns a
`Checkpoint`. Only safetensors are read, never pickled weights; no code out of a checkpoint is ever run.
"""

import difflib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

from pydantic import ValidationError

from micrographia import store
from micrographia.errors import CacheError, ModelFileError, ModelNameError, UnsupportedError
from micrographia.model import embedded
from micrographia.model.conversion import HABITS, Habits, convert, models_dir
from micrographia.model.hub import fetch
from micrographia.model.tensor_files import TensorFiles

__all__ = ["CachedModel", "Checkpoint", "Origin", "list_cached", "locate", "remove_cached"]

Origin = Literal["embedded", "gguf", "folder", "hub"]
"""Where a checkpoint came from."""

_HUB_ID = re.compile(r"(?P<id>[\w][\w.-]*/[\w][\w.-]*)(?:@(?P<revision>[\w][\w./-]*))?")
_BARE_ID = re.compile(r"(?P<id>[\w][\w.-]*)(?:@(?P<revision>[\w][\w./-]*))?")
_OLD_IDS = {
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "distilgpt2": "distilbert/distilgpt2",
}
"""Models that everybody calls by a name without an owner."""

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder in Hugging Face's layout. `manifest` is there when the folder is our own work."""

    name: str
    folder: Path
    origin: Origin
    manifest: store.Manifest | None = None
    revision: str | None = None

    @staticmethod
    def of(name: str, folder: Path, origin: Origin, revision: str | None = None) -> "Checkpoint":
        """Look a folder over; of our own folders every file but the weights is compared with the manifest."""
        manifest = store.read_manifest(folder) if origin in ("embedded", "gguf") else None
        if manifest is not None:
            store.check_files(folder, (f for f in manifest.files if not f.name.endswith(".safetensors")))
        if not (folder / "config.json").is_file():
            raise ModelFileError(
                f"{folder} has no config.json, so it is not a model in Hugging Face's layout; "
                f"it holds {_holds(folder)}."
            )
        return Checkpoint(name, folder, origin, manifest, revision)

    def config(self) -> Any:
        """The configuration as transformers understands it. No remote code is run.

        A folder of ours spells out all that is needed, so it is read without the seconds that importing
        transformers takes, unless its rotary positions need transformers' own arithmetic.
        """
        raw = self._json("config.json")
        if self.manifest is not None and not {"yarn", "longrope"} & _rope_types(raw):
            return SimpleNamespace(**raw)
        if "auto_map" in raw and "model_type" not in raw:
            raise UnsupportedError(f"{self.name} brings its own code, which is never run here.")
        from huggingface_hub.errors import StrictDataclassError
        from transformers import AutoConfig

        try:
            load = cast("Callable[..., Any]", AutoConfig.from_pretrained)
            return load(self.folder, local_files_only=True, trust_remote_code=False)
        except (StrictDataclassError, ValueError, KeyError, TypeError, ArithmeticError, OSError) as error:
            reason = " ".join(str(error).split("\n\n")[0].split()) or type(error).__name__
            kind = raw.get("model_type")
            raise UnsupportedError(
                f"transformers cannot read {self.folder / 'config.json'} (model type {kind!r}): {reason}"
            ) from error

    def habits(self) -> Habits:
        """What the checkpoint records about how it likes to be prompted."""
        path = self.folder / HABITS
        if not path.is_file():
            return Habits()
        try:
            return Habits.model_validate(self._json(HABITS))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ModelFileError(f"{path} cannot be understood ({wrong}).") from error

    def tensors(self) -> TensorFiles:
        """The weights, mapped when asked for. Our own files are compared with the manifest first."""
        shards = self._shards()
        if self.manifest is not None:
            store.check_files(self.folder, (f for f in self.manifest.files if f.name.endswith(".safetensors")))
        return TensorFiles(self.folder, shards, ours=self.manifest is not None)

    def verify(self, progress: store.Progress = store.silent) -> None:
        """Compare every file's SHA-256 with the manifest; nothing to do in a folder that is not ours."""
        if self.manifest is not None:
            store.verify_files(self.folder, self.manifest.files, progress)

    def _json(self, name: str) -> dict[str, object]:
        path = self.folder / name
        try:
            raw: object = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ModelFileError(f"{path} cannot be read as JSON: {error}.") from error
        if not isinstance(raw, dict):
            raise ModelFileError(f"{path} is not a JSON object.")
        return cast("dict[str, object]", raw)

    def _shards(self) -> tuple[str, ...]:
        """The names of the weight files, all of which are there."""
        if (self.folder / _INDEX).is_file():
            table = self._json(_INDEX).get("weight_map")
            if not isinstance(table, dict):
                raise ModelFileError(f"{self.folder / _INDEX} has no weight_map.")
            names = sorted({str(name) for name in cast("dict[str, object]", table).values()})
        else:
            names = [_SINGLE]
        if any(Path(name).name != name for name in names):
            raise ModelFileError(f"{self.folder / _INDEX} names files outside its own folder.")
        missing = [name for name in names if not (self.folder / name).is_file()]
        if not missing:
            return tuple(names)
        if self.manifest is not None:
            raise CacheError(f"{self.folder} lacks {', '.join(missing)}. {store.removal_line(self.folder)}")
        raise ModelFileError(_lacks(self.folder, missing, len(names)))


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model that can be opened without a network."""

    name: str
    path: Path
    size: int
    kind: Literal["converted", "damaged", "hub"]


def locate(spec: str | None = None, *, progress: store.Progress = store.silent) -> Checkpoint:
    """The checkpoint that a name leads to; None is the embedded model."""
    if spec is None or spec.lower() in (embedded.NAME, embedded.FULL_NAME.lower()):
        return Checkpoint.of(embedded.NAME, embedded.embedded_folder(progress), "embedded")
    path = Path(os.path.expanduser(spec))
    if spec and os.path.isdir(path):
        return Checkpoint.of(path.name or str(path.absolute()), path, "folder")
    if os.path.isfile(path):
        return _from_file(path, progress)
    if _written_as_path(spec):
        raise ModelNameError(f"There is no file or folder {path}. {_what_works()}")
    named = _HUB_ID.fullmatch(spec)
    if named is None:
        named = _bare(spec)
    identity = _OLD_IDS.get(named["id"], named["id"])
    folder = fetch(identity, named["revision"])
    return Checkpoint.of(identity, folder, "hub", folder.name)


def list_cached() -> tuple[CachedModel, ...]:
    """What lies in our cache and in the hub's, ready to be opened."""
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    folders = sorted(models_dir().glob("*")) if models_dir().is_dir() else []
    found = [_converted(folder) for folder in folders if (folder / store.MANIFEST).is_file()]
    try:
        repos = sorted(scan_cache_dir(constants.HF_HUB_CACHE).repos, key=lambda repo: repo.repo_id)
    except CacheNotFound:
        return tuple(found)
    return (
        *found,
        *(CachedModel(r.repo_id, r.repo_path, r.size_on_disk, "hub") for r in repos if r.repo_type == "model"),
    )


def _converted(folder: Path) -> CachedModel:
    try:
        return CachedModel(folder.name, folder, store.read_manifest(folder).size, "converted")
    except CacheError:
        size = sum(path.stat().st_size for path in folder.iterdir())
        return CachedModel(folder.name, folder, size, "damaged")


def remove_cached(name: str) -> int:
    """Remove a converted model from our cache; the number of bytes freed."""
    ours = {path.name: path for path in models_dir().glob("*") if path.is_dir()} if models_dir().is_dir() else {}
    matching = [path for path in ours.values() if name in (path.name, path.name.rpartition("-")[0])]
    if len(matching) != 1:
        listed = ", ".join(sorted(ours)) or "nothing"
        which = "no" if not matching else "more than one"
        raise ModelNameError(f"There is {which} converted model {name!r} in {models_dir()}, which holds: {listed}.")
    with store.locked(matching[0]):
        size = sum(path.stat().st_size for path in matching[0].iterdir())
        store.remove_folder(matching[0])
    return size


# ---------------------------------------------------------------- names


def _from_file(path: Path, progress: store.Progress) -> Checkpoint:
    if path.suffix.lower() != ".gguf":
        raise ModelNameError(
            f"{path} is a file, and not a .gguf. For safetensors give the folder with config.json: {path.parent}"
        )
    name = re.sub(r"[^\w.-]+", "-", path.stem)
    try:
        sha256 = store.sha256_file(path, progress)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.") from error
    folder = convert(path, name=name, sha256=sha256, progress=progress)
    return Checkpoint.of(path.stem, folder, "gguf")


def _written_as_path(spec: str) -> bool:
    return (
        spec.startswith((".", "/", "~", "\\"))
        or "\\" in spec
        or (spec.count("/") > 1 and "@" not in spec)
        or spec.lower().endswith(".gguf")
        or spec.endswith("/")
    )


def _bare(spec: str) -> "re.Match[str]":
    """A name without an owner: an old hub name, or a mistake."""
    matched = _BARE_ID.fullmatch(spec)
    if matched is not None and matched["id"] in _OLD_IDS:
        return matched
    known = [embedded.NAME, embedded.FULL_NAME, *_OLD_IDS]
    lowered = {name.lower(): name for name in known}
    near = difflib.get_close_matches(spec.lower(), lowered, n=2, cutoff=0.6)
    meant = f" Did you mean {' or '.join(repr(lowered[name]) for name in near)}?" if near else ""
    raise ModelNameError(f"No model is called {spec!r}.{meant} {_what_works()}")


def _what_works() -> str:
    return (
        f"Write {embedded.NAME!r} for the embedded model, the path of a folder or of a .gguf file, or a hub "
        "id such as 'EleutherAI/pythia-70m' or 'EleutherAI/pythia-70m@step1000'."
    )


# ---------------------------------------------------------------- folders


def _rope_types(config: dict[str, object]) -> set[str]:
    recipe = cast("dict[str, object]", config["rope_parameters"])
    every = [recipe, *(cast("dict[str, object]", part) for part in recipe.values() if isinstance(part, dict))]
    return {str(part["rope_type"]) for part in every if "rope_type" in part}


def _holds(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return listed or "nothing"


def _lacks(folder: Path, missing: list[str], of: int) -> str:
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled and missing == [_SINGLE]:
        return (
            f"{folder} has its weights only as {', '.join(pickled)}, which are pickles and can run code when "
            "opened; only safetensors are read. Save it anew with transformers: model.save_pretrained(…)."
        )
    if missing == [_SINGLE]:
        return f"{folder} has no weights: neither {_SINGLE} nor {_INDEX}; it holds {_holds(folder)}."
    return f"{folder} lacks {len(missing)} of its {of} weight files: {', '.join(missing)}. Fetch them again."
