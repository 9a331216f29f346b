"""What every format of basis files gives: to be recognised, read, and, where that is possible, written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from pydantic import JsonValue, ValidationError

from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.parts import BasisFile
from micrographia.bases.formats.storage import Storage
from micrographia.errors import ModelFileError
from micrographia.model.site import Point
from micrographia.store import complaints

__all__ = ["FACTS", "Fitted", "Format", "Hints", "facts_in", "facts_out"]

FACTS = "micrographia"
"""The key under which our facts travel in other tools' settings, which let it stand."""


@dataclass(frozen=True, slots=True)
class Hints:
    """What a person says where the files do not."""

    transcoder: bool = False
    """These files are a transcoder, though they might as well be an autoencoder of one site."""
    input_site: Point | None = None
    output_site: Point | None = None
    model: str | None = None

    def over(self, facts: BasisFacts) -> BasisFacts:
        """The facts, with what a person says in the place of what files say."""
        said: dict[str, object] = {"output_site": self.output_site, "model": self.model}
        if self.input_site is not None:
            said |= {"input_site": self.input_site, "input_norm": "as-read"}
        return facts.model_copy(update={key: value for key, value in said.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Fitted:
    """A basis as a format can hold it, and a line for each thing that had to go."""

    file: BasisFile
    lost: tuple[str, ...] = ()


@runtime_checkable
class Format(Protocol):
    """The files of one tool.

    `detect` says in a few words what it recognises in a folder, or None; it opens no tensors and raises nothing for a
    folder that is not its own. `read` gives the basis with its tensors still on the disk, refusing whatever it does not
    understand; conventions that we do not have are folded into the weights, so that the basis computes what the tool
    computes. `fit` gives the basis that `write` can write without any further change, and lists what that one has lost;
    a basis that fits loses nothing. `write` fills an empty folder. A format that is only read refuses in `fit`.
    """

    @property
    def name(self) -> str: ...
    def detect(self, folder: Path, /) -> str | None: ...
    def read(self, folder: Path, hints: Hints, /) -> BasisFile: ...
    def fit(self, file: BasisFile, storage: Storage, /) -> Fitted: ...
    def write(self, file: BasisFile, folder: Path, storage: Storage, /) -> None: ...


def facts_out(facts: BasisFacts, tool: str) -> JsonValue:
    """Our facts for a tool's settings, without what the tool itself once wrote."""
    others = {name: its for name, its in facts.foreign.items() if name != tool}
    return facts.model_copy(update={"foreign": others}).model_dump(mode="json", exclude_defaults=True)


def facts_in(settings: Mapping[str, JsonValue], where: str) -> BasisFacts:
    """Our facts out of another tool's settings; none if it never was ours."""
    try:
        return BasisFacts.model_validate(settings.get(FACTS, {}))
    except ValidationError as error:
        raise ModelFileError(
            f"{where} has a part {FACTS!r} that cannot be understood ({complaints(error)})."
        ) from error
