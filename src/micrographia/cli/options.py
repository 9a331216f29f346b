"""Options that several commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Parameter

from micrographia.cli.screen import progress
from micrographia.errors import CallError

if TYPE_CHECKING:
    from micrographia.bases.named import BasisChoice
    from micrographia.microscope import Microscope
    from micrographia.model.tokens import Prompt

__all__ = ["BasisOption", "ModelOptions", "PromptOptions", "TargetOptions", "read_text"]

BasisOption: TypeAlias = Annotated[
    str | None,
    Parameter(help="neurons, transcoders, or a folder with transcoders. Default: those that come along."),
]
"""What the MLPs are read in."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which model, and how it is opened."""

    model: Annotated[
        str | None,
        Parameter(
            help="A hub id (with @revision), a folder, or a GGUF file. Default: the embedded SmolLM2-135M-Instruct."
        ),
    ] = None
    device: Annotated[str | None, Parameter(help="cpu, cuda or mps. Default: the best one here.")] = None
    dtype: Annotated[
        str | None, Parameter(help="float32, bfloat16, float16 or float64. Default: float32 where it fits.")
    ] = None

    def open(self, basis: "BasisChoice" = None) -> "Microscope":
        from micrographia.microscope import open as open_microscope

        with progress() as report:
            return open_microscope(self.model, device=self.device, dtype=self.dtype, basis=basis, progress=report)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class PromptOptions:
    """How a prompt becomes tokens."""

    bos: Annotated[
        str,
        Parameter(help="What stands before the prompt: auto (what this model does best with), none, or a token."),
    ] = "auto"
    chat: Annotated[
        bool,
        Parameter(help="Put the prompt as a user's message into the model's chat template.", negative=""),
    ] = False

    def read(self, scope: "Microscope", text: str) -> "Prompt":
        if self.chat:
            return scope.chat(text)
        return scope.model.tokenizer.prompt(text, bos=self.bos)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class TargetOptions:
    """What is explained."""

    target: Annotated[
        str | None, Parameter(help='The token to explain, such as " French". Default: the likeliest ones.')
    ] = None
    against: Annotated[
        str | None, Parameter(help="Explain what makes the target likelier than this token. Target: the answer.")
    ] = None
    position: Annotated[int, Parameter(help="Where the model answers: 0 is the first token, -1 the last.")] = -1


def read_text(path: Path) -> str:
    """The text of a file, or one sentence about why not."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CallError(f"There is no file {str(path)!r}.") from None
    except (OSError, ValueError) as error:
        raise CallError(f"{str(path)!r} cannot be read as text: {error}.") from None
