"""Circuit files, `*.circuit.toml`: claims about a model in words and numbers, to be tested again and again.

    schema_version = 1
    name = "What makes it French"
    model = "smollm2"
    basis = "transcoders"

    [[family]]
    name = "landmarks"
    prompts = [{ text = "The country where the Eiffel Tower is located is called", answer = " France" }]

    [[claim]]
    words = "Without the features that say French, French is less likely."
    family = "landmarks"
    change = ["25.117@-1=0", "25.1224@-1=0"]
    measure = "probability"
    lowers = 0.3
    controls = 0.1

A prompt of a family counts if the model answers it as the file says. `lowers` (or `raises`) is how far the measure must
move on the mean of those prompts: a probability by this part of itself, a logit (less the mean of all) by this much.
`controls` is how far as long steps along other features may move it.
"""

import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from micrographia import store
from micrographia.errors import CallError
from micrographia.evidence.evidence import Evidence
from micrographia.graph.graph import Graph

__all__ = ["SUFFIX", "Circuit", "CircuitClaim", "Family", "Given", "first_circuit", "read_circuit", "write_circuit"]

SUFFIX = ".circuit.toml"
_FORM = ConfigDict(frozen=True, extra="forbid")
_HALF = 0.5

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Given(BaseModel):
    """A prompt, and the token that the model is to answer."""

    model_config = _FORM

    text: Annotated[str, Field(min_length=1)]
    answer: Annotated[str, Field(min_length=1)]


class Family(BaseModel):
    """Prompts that a claim is about."""

    model_config = _FORM

    name: Annotated[str, Field(min_length=1)]
    prompts: Annotated[tuple[Given, ...], Field(min_length=1)]


class CircuitClaim(BaseModel):
    """What a change to some features does."""

    model_config = _FORM

    words: Annotated[str, Field(min_length=1)]
    family: str
    change: Annotated[tuple[str, ...], Field(min_length=1)]
    """As `micrographia what-if` reads them, with positions: `25.117@-1=0`."""
    token: str | None = None
    """Whose measure it is; the answer of each prompt if not said."""
    measure: Literal["probability", "logit"] = "probability"
    lowers: _Positive | None = None
    raises: _Positive | None = None
    controls: _Positive

    @model_validator(mode="after")
    def _sensible(self) -> "CircuitClaim":
        if (self.lowers is None) == (self.raises is None):
            raise ValueError(f"{self.words!r} must say one of lowers and raises")
        if self.controls >= self.least:
            raise ValueError(
                f"{self.words!r} contradicts itself: its controls may do {self.controls:g}, and it only {self.least:g}"
            )
        if self.measure == "probability" and (self.lowers or 0) > 1:
            raise ValueError(f"{self.words!r} lowers a probability by more than all of it")
        return self

    @property
    def least(self) -> float:
        """How far it must go."""
        return self.lowers or self.raises or 0.0

    @property
    def sign(self) -> int:
        return -1 if self.raises is None else 1

    @property
    def about(self) -> tuple[object, ...]:
        """What two claims must not say opposite things of."""
        return (self.family, frozenset(self.change), self.token)


class Circuit(BaseModel):
    """The file."""

    model_config = _FORM

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(min_length=1)]
    model: str | None = None
    """As `--model` takes it; the embedded one if not said."""
    basis: str | None = None
    family: Annotated[tuple[Family, ...], Field(min_length=1)]
    claim: Annotated[tuple[CircuitClaim, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> "Circuit":
        names = [family.name for family in self.family]
        for what, said in (("family", names), ("claim", [claim.words for claim in self.claim])):
            if twice := [each for each, count in Counter(said).items() if count > 1]:
                raise ValueError(f"there are two of the {what} {twice[0]!r}")
        signs: dict[tuple[object, ...], CircuitClaim] = {}
        for claim in self.claim:
            if claim.family not in names:
                raise ValueError(f"{claim.words!r} is about the family {claim.family!r}; there is {', '.join(names)}")
            other = signs.setdefault(claim.about, claim)
            if other.sign != claim.sign:
                raise ValueError(f"{other.words!r} and {claim.words!r} contradict each other")
        return self

    def prompts(self, name: str) -> tuple[Given, ...]:
        """Those of a family."""
        return next(family.prompts for family in self.family if family.name == name)


def read_circuit(path: str | Path) -> Circuit:
    """A circuit file, or one sentence about what is wrong with it."""
    try:
        return Circuit.model_validate(tomllib.loads(Path(path).read_text("utf-8")))
    except FileNotFoundError:
        raise CallError(f"There is no file {str(path)!r}.") from None
    except ValidationError as error:
        raise CallError(f"{path} is no circuit file: {store.complaints(error)}.") from error
    except (OSError, ValueError) as error:
        raise CallError(f"{path} cannot be read as TOML: {error}.") from error


def first_circuit(graph: Graph, evidence: Evidence, name: str, basis: str | None = None) -> Circuit:
    """What was confirmed about the answer of a graph, asked to hold by half of what was measured."""
    confirmed = [one for one in evidence.tested if one.judgement.verdict == "confirmed"]
    token = graph.targets[evidence.target.index or 0].token
    if token is None:
        raise CallError(f"{evidence.name} is no token, and a circuit file is about one.")
    claims: list[CircuitClaim] = []
    for one in confirmed:
        assert one.measured is not None, "what was not measured is not confirmed"
        least = float(f"{_HALF * abs(one.measured.effect):.3g}")
        spread = abs(sum(one.measured.controls)) / max(len(one.measured.controls), 1)
        falls = one.measured.effect < 0
        claims.append(
            CircuitClaim(
                words=f"Without {one.claim.name}, {evidence.name} {'falls' if falls else 'rises'}.",
                family=name,
                change=tuple(f"{member}=0" for member in one.claim.members),
                measure="logit",
                controls=float(f"{min(0.9 * least, max(2 * spread, _HALF * least)):.3g}"),
                lowers=least if falls else None,
                raises=None if falls else least,
            )
        )
    if not claims:
        raise CallError(
            "No claim of this graph is confirmed, so there is nothing to write: test it first, or for longer."
        )
    family = Family(name=name, prompts=(Given(text=graph.prompt.text, answer=_word(graph, token)),))
    model = None if graph.facts is None else graph.facts.model
    return Circuit(name=name, model=model, basis=basis, family=(family,), claim=tuple(claims))


def _word(graph: Graph, token: int) -> str:
    """A token as a circuit file has it: with a space where people read ␣."""
    return next(target.name for target in graph.targets if target.token == token).replace("␣", " ")


def write_circuit(circuit: Circuit, path: Path) -> None:
    """Write it, whole or not at all."""
    head = [f"{key} = {_toml(getattr(circuit, key))}" for key in ("schema_version", "name", "model", "basis")]
    lines = [line for line in head if not line.endswith("= null")]
    for family in circuit.family:
        lines += ["", "[[family]]", f"name = {_toml(family.name)}", "prompts = ["]
        lines += [f"    {{ text = {_toml(each.text)}, answer = {_toml(each.answer)} }}," for each in family.prompts]
        lines += ["]"]
    for claim in circuit.claim:
        said = claim.model_dump(exclude_none=True)
        lines += ["", "[[claim]]", *(f"{key} = {_toml(value)}" for key, value in said.items())]
    with store.atomic_file(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())


def _toml(value: object) -> str:
    """Texts, numbers and lists of texts are written in TOML as in JSON, once escapes are of four digits."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
