"""What decides every byte of an atlas, and what a finished one says about itself."""

import json
import shlex
from pathlib import Path
from typing import Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field

from micrographia import store
from micrographia.atlas.sketch import Shape
from micrographia.atlas.watch import Span
from micrographia.corpus.manifest import Split
from micrographia.errors import CacheError, CallError
from micrographia.store import MANIFEST, FileRecord

__all__ = [
    "BUILD",
    "AtlasConfig",
    "AtlasManifest",
    "BasisKind",
    "BasisRecord",
    "LayerPlan",
    "Plan",
    "SourceRecord",
    "read_atlas_manifest",
]

BUILD = "micrographia atlas build"
"""What makes an atlas anew."""
_SCHEMA = 1


BasisKind: TypeAlias = Literal["neurons", "per-layer", "cross-layer"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AtlasConfig(_Record):
    """The choices."""

    tokens: int = Field(default=1_000_000, gt=0)
    """Positions that are read; the first of each window does not count."""
    split: Split = "train"
    window: int = Field(default=256, ge=2)
    """Tokens that the model sees at a time."""
    block: int = Field(default=16, gt=0)
    """Windows that go through the model together."""
    strongest: int = Field(default=16, gt=0)
    """Places that are kept of each feature, where it is strongest."""
    sample: int = Field(default=64, gt=0)
    """Places that are kept of each feature, at random."""
    before: int = Field(default=11, ge=0)
    """Tokens before each place whose strengths are kept."""
    after: int = Field(default=4, ge=0)
    """And behind it."""
    promoted: int = Field(default=20, gt=0)
    """Tokens that are kept of those a feature promotes most, and of those it suppresses most."""
    seed: int = 0
    """Decides which text is read, and the sample."""

    @property
    def span(self) -> Span:
        return Span(self.before, self.after)

    @property
    def shape(self) -> Shape:
        return Shape(self.strongest, self.sample, len(self.span))


class BasisRecord(_Record):
    """The basis whose features these are."""

    kind: BasisKind
    name: str
    fingerprint: str


class SourceRecord(_Record):
    """A source of the text, in the order of the corpus."""

    name: str
    licence: str


class LayerPlan(_Record):
    """One layer's features."""

    layer: int = Field(ge=0)
    n_features: int = Field(gt=0)
    exponent: int
    """Strengths are in units of two to this power."""
    bound: float | None = None
    """What a neuron must write to count as active."""


class Plan(_Record):
    """All that decides what the bytes will be."""

    schema_version: Literal[1] = _SCHEMA
    config: AtlasConfig
    model: str
    model_fingerprint: str
    dtype: str
    basis: BasisRecord
    tokenizer: str
    tokenizer_sha256: str
    d_vocab: int
    corpus_sha256: str
    sources: tuple[SourceRecord, ...]
    n_windows: int = Field(gt=0)
    layers: tuple[LayerPlan, ...]

    @property
    def n_positions(self) -> int:
        """Positions that count."""
        return self.n_windows * (self.config.window - 1)

    @property
    def n_blocks(self) -> int:
        return -(-self.n_windows // self.config.block)


class AtlasManifest(_Record):
    """The file `manifest.json` of an atlas."""

    schema_version: Literal[1] = _SCHEMA
    kind: Literal["atlas"] = "atlas"
    plan: Plan
    imported_from: str | None = None
    """The tool whose cache this was made from; None if it was made here."""
    active: tuple[int, ...]
    """How often the features of each layer were active in all."""
    dead: tuple[int, ...]
    """How many features of each layer never were."""
    files: tuple[FileRecord, ...]
    """The text, then one file for each layer."""

    @property
    def size(self) -> int:
        return sum(record.size for record in self.files)


def read_atlas_manifest(folder: Path) -> AtlasManifest:
    """The manifest of an atlas; an unknown version or key is refused by name."""
    path = folder / MANIFEST
    try:
        raw: object = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        there = "there is no such folder" if not folder.exists() else "it is a file"
        raise _no_atlas(folder, f"it has no {MANIFEST}" if folder.is_dir() else there) from error
    except (ValueError, OSError) as error:
        raise CacheError(f"{path} cannot be read: {error}. {store.removal_line(folder, by=BUILD)}") from error
    known = cast("dict[str, object]", raw) if isinstance(raw, dict) else {}
    if known.get("kind") != "atlas":
        raise _no_atlas(folder, f"its {MANIFEST} is of the kind {known.get('kind')!r}")
    manifest = store.record_of(known, AtlasManifest, path, remedy=store.removal_line(folder, by=BUILD))
    if any(Path(record.name).name != record.name for record in manifest.files):
        raise CacheError(f"{path} names files outside its own folder. {store.removal_line(folder, by=BUILD)}")
    return manifest


def _no_atlas(folder: Path, why: str) -> CallError:
    said, basis = "Build one", "BASIS"
    if folder.is_dir():
        said, basis = "If it is a basis, build its atlas", shlex.quote(str(folder))
    return CallError(f"{str(folder)!r} is not an atlas: {why}. {said}: micrographia atlas build {basis} --corpus DIR")
