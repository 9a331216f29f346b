"""What must be known about a basis to use it rightly, and what most tools leave to be guessed."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from micrographia.model.site import Point

__all__ = ["BasisFacts", "Bos", "FirstPosition", "InputNorm"]

InputNorm: TypeAlias = Literal["as-read", "before-gain"]
"""Whether the encoder multiplies the tensor at its site as it is, or as it was before the norm's own gain and bias."""

Bos: TypeAlias = Literal["prepended", "absent"]
FirstPosition: TypeAlias = Literal["trained", "left-out"]


class BasisFacts(BaseModel):
    """All that goes with the weights. None is "nobody says"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_site: Point = Point.MLP_IN
    input_norm: InputNorm = "as-read"
    output_site: Point = Point.MLP_OUT
    bias_subtracted_from_input: Literal[False] = False
    """A tool that subtracts the output bias from the input has that folded into the encoder's bias when it is read."""
    skip: Literal["none", "in-output"] = "none"
    """The skip path, where there is one, is a summand of the output."""
    bos: Bos | None = None
    bos_token: int | None = None
    first_position: FirstPosition | None = None
    model: str | None = None
    model_revision: str | None = None
    model_layers: int | None = None
    """How many layers the model has; the basis may cover fewer."""
    tokenizer_sha256: str | None = None
    dataset: str | None = None
    training: Mapping[str, JsonValue] | None = None
    """The configuration of the training, if there was one and it is known."""
    foreign: Mapping[str, Mapping[str, JsonValue]] = Field(default_factory=dict[str, Mapping[str, JsonValue]])
    """What a tool wrote for itself, by the tool's name: kept, so that writing for that tool loses nothing."""
