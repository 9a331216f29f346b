"""What a corpus says about itself: its recipe, where every document went, and what its files weigh."""

import json
from pathlib import Path
from typing import Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict

from micrographia.corpus.recipe import Recipe
from micrographia.errors import CacheError, CallError
from micrographia.store import MANIFEST, FileRecord, record_of, removal_line

__all__ = [
    "BUILD",
    "SPLITS",
    "CorpusManifest",
    "Plan",
    "ShardRecord",
    "SourceReport",
    "Split",
    "Tally",
    "TokenizerRecord",
    "read_manifest",
]

Split: TypeAlias = Literal["train", "heldout"]
"""Documents to learn from, or to judge by."""
SPLITS: tuple[Split, ...] = ("train", "heldout")

BUILD = "micrographia corpus build"
"""What makes a corpus anew."""
_SCHEMA = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tally(_Record):
    """How much of something there is. Tokens include what stands in front of each document."""

    documents: int = 0
    tokens: int = 0

    def plus(self, tokens: int) -> "Tally":
        """With one more document."""
        return Tally(documents=self.documents + 1, tokens=self.tokens + tokens)


class TokenizerRecord(_Record):
    """The tokenizer whose ids these are."""

    name: str
    sha256: str
    d_vocab: int
    front: tuple[int, ...]
    """What stands in front of each document."""


class SourceReport(_Record):
    """What became of the documents of one source."""

    name: str
    kind: str
    licence: str
    version: str
    read: int = 0
    """Documents that were looked at; each is empty, a duplicate, a near duplicate, or kept."""
    empty: int = 0
    duplicates: int = 0
    near_duplicates: int = 0
    train: Tally = Tally()
    heldout: Tally = Tally()
    characters: int = 0
    """Of what was kept."""
    replaced: int = 0
    """Characters of what was kept that the vocabulary cannot write; U+FFFD stands in their place."""
    sha256: str = ""
    """Chained over the names and texts of all documents read."""
    exhausted: bool = False
    """Whether the source was read to its end, and not only until it had given its share."""

    @property
    def tokens(self) -> int:
        return self.train.tokens + self.heldout.tokens

    def tally(self, split: Split) -> Tally:
        return self.train if split == "train" else self.heldout


class Plan(_Record):
    """All that decides what the bytes of a corpus will be, apart from the texts themselves."""

    schema_version: Literal[1] = _SCHEMA
    recipe: Recipe
    tokenizer: TokenizerRecord
    versions: tuple[str, ...]
    """Of the sources."""
    shard_tokens: int


class ShardRecord(_Record):
    """One file of tokens."""

    file: FileRecord
    train: Tally
    heldout: Tally

    def tally(self, split: Split) -> Tally:
        return self.train if split == "train" else self.heldout


class CorpusManifest(_Record):
    """The file `manifest.json` of a corpus."""

    schema_version: Literal[1] = _SCHEMA
    kind: Literal["corpus"] = "corpus"
    plan: Plan
    sources: tuple[SourceReport, ...]
    shards: tuple[ShardRecord, ...]

    def tally(self, split: Split) -> Tally:
        """All documents and tokens of a split."""
        tallies = [shard.tally(split) for shard in self.shards]
        return Tally(documents=sum(t.documents for t in tallies), tokens=sum(t.tokens for t in tallies))


def read_manifest(folder: Path) -> CorpusManifest:
    """The manifest of a corpus; an unknown version or key is refused by name."""
    path = folder / MANIFEST
    try:
        raw: object = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        missing = "it is a file" if folder.exists() else "there is no such folder"
        there = f"it has no {MANIFEST}" if folder.is_dir() else missing
        raise CallError(
            f"{str(folder)!r} is not a corpus: {there}. Build one: micrographia corpus build --out {folder}"
        ) from error
    except (ValueError, OSError) as error:
        raise CacheError(f"{path} cannot be read: {error}. {removal_line(folder, by=BUILD)}") from error
    known = cast("dict[str, object]", raw) if isinstance(raw, dict) else {}
    if known.get("kind") != "corpus":
        raise CallError(f"{str(folder)!r} is not a corpus, but of the kind {known.get('kind')!r}.")
    return record_of(known, CorpusManifest, path, remedy=removal_line(folder, by=BUILD))
