"""Evidence on disk: `evidence.json` beside the graph's own files.

It is written anew, whole, after each batch of controls, so that whatever ends the work leaves what was measured. It
holds measurements, and the predictions that they belong to; verdicts follow from them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from micrographia import store
from micrographia.errors import WorkError
from micrographia.evidence.claims import Claim, ClaimKind, claims_of
from micrographia.evidence.evidence import Evidence, Measured
from micrographia.evidence.links import links_of
from micrographia.evidence.verdicts import FAMILY
from micrographia.graph.files import GraphManifest
from micrographia.graph.graph import Graph

__all__ = ["EVIDENCE", "EvidenceRecord", "MeasuredRecord", "forget_evidence", "load_evidence", "save_evidence"]

EVIDENCE = "evidence.json"
_FORM = ConfigDict(frozen=True, extra="forbid")


class MeasuredRecord(BaseModel):
    """One claim, as it was predicted and measured."""

    model_config = _FORM

    kind: ClaimKind
    members: tuple[str, ...]
    reads: tuple[str, ...]
    """The features that were to change; none where it is the target."""
    direct: float
    total: float
    effect: float
    probability: float | None
    controls: tuple[float, ...]
    seconds: float = Field(ge=0)


class EvidenceRecord(BaseModel):
    """The file."""

    model_config = _FORM

    schema_version: Literal[3] = 3
    kind: Literal["evidence"] = "evidence"
    graph_sha256: str
    """Of the graph's tables: evidence belongs to one graph."""
    target: str
    name: str
    value: float
    probability: float | None
    rate: float
    seed: int
    family: int | None = Field(ge=1)
    """How many claims about the answer were chosen to be tested; none were before version 3."""
    measured: dict[str, MeasuredRecord]


def save_evidence(evidence: Evidence, folder: Path) -> None:
    """Write it beside the graph, in place of what was there."""
    claims = {claim.key: claim for claim in (*evidence.claims, *evidence.links)}
    record = EvidenceRecord(
        graph_sha256=_weight(folder),
        target=str(evidence.target),
        name=evidence.name,
        value=evidence.value,
        probability=evidence.probability,
        rate=evidence.rate,
        seed=evidence.seed,
        family=evidence.family,
        measured={key: _record(claims[key], one) for key, one in evidence.measured.items()},
    )
    with store.atomic_file(folder / EVIDENCE) as stream:
        stream.write((json.dumps(record.model_dump(), indent=1) + "\n").encode("ascii"))


def load_evidence(graph: Graph, folder: str | Path) -> Evidence | None:
    """What is known about a graph that was opened from this folder; None where nothing is."""
    path = Path(folder) / EVIDENCE
    try:
        raw: object = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise WorkError(f"{path} cannot be read: {error}. {_remedy(path)}") from error
    record = store.record_of(_of_today(raw), EvidenceRecord, path, kind=WorkError, remedy=_remedy(path))
    if record.graph_sha256 != _weight(path.parent):
        raise WorkError(f"{path} belongs to another graph than the one in this folder. {_remedy(path)}")
    claims = claims_of(graph, record.target)
    links = links_of(graph, claims)
    there = {claim.key: _places(claim) for claim in (*claims, *links)}
    strangers = [key for key, one in record.measured.items() if there.get(key) != (one.members, one.reads)]
    if strangers:
        raise WorkError(f"{path} is about {strangers[0]!r}, which is no claim of this graph. {_remedy(path)}")
    return Evidence(
        target=claims[0].target,
        name=record.name,
        value=record.value,
        probability=record.probability,
        claims=claims,
        measured=_measured(record.measured),
        rate=record.rate,
        seed=record.seed,
        links=links,
        family=record.family or _tried(claims, record),
    )


def _of_today(raw: object) -> object:
    """Version 1 knew only claims about the answer, and version 2 chose none before it began."""
    content = _mapping(raw)
    if content.get("schema_version") not in (1, 2):
        return raw
    old: dict[str, object] = {"kind": "answer", "reads": ()}
    known = {key: {**old, **_mapping(one)} for key, one in _mapping(content.get("measured")).items()}
    return {**content, "schema_version": 3, "family": None, "measured": known}


def _tried(claims: Sequence[Claim], record: EvidenceRecord) -> int:
    """As many of the strongest claims as hold all that were tried, and no fewer than are chosen now."""
    return max([FAMILY, *(number for number, claim in enumerate(claims, 1) if claim.key in record.measured)])


def _mapping(raw: object) -> dict[str, object]:
    """What of it has keys; what is missing is complained of where the record is read."""
    return cast("dict[str, object]", raw) if isinstance(raw, dict) else {}


def _places(claim: Claim) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(map(str, claim.members)), tuple(map(str, claim.reads))


def forget_evidence(folder: Path) -> None:
    """Take away what was measured, so that a test begins anew."""
    (folder / EVIDENCE).unlink(missing_ok=True)


def _measured(records: Mapping[str, MeasuredRecord]) -> dict[str, Measured]:
    return {name: Measured(one.effect, one.probability, one.controls, one.seconds) for name, one in records.items()}


def _record(claim: Claim, one: Measured) -> MeasuredRecord:
    members, reads = _places(claim)
    return MeasuredRecord(
        kind=claim.kind,
        members=members,
        reads=reads,
        direct=claim.direct,
        total=claim.total,
        effect=one.effect,
        probability=one.probability,
        controls=one.controls,
        seconds=one.seconds,
    )


def _weight(folder: Path) -> str:
    """The SHA-256 of the graph's tables, as its manifest has it."""
    manifest = GraphManifest.model_validate_json((folder / store.MANIFEST).read_bytes())
    return manifest.files[0].sha256


def _remedy(path: Path) -> str:
    return f"Delete it to begin anew, or use --anew: {path}"
