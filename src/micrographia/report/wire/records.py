"""The records that the page reads. Its types are made from these: scripts/viewer writes `viewer/src/wire.ts`.

Numbers that are none are null. A text may be any text, half characters included.
"""

import json
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, PlainValidator, WithJsonSchema

__all__ = [
    "WIRE_VERSION",
    "ClaimRecord",
    "ColumnRecord",
    "EntryRecord",
    "EvidenceDocument",
    "ExampleRecord",
    "FactsRecord",
    "FeatureDocument",
    "FeaturesDocument",
    "GraphDocument",
    "GroupRecord",
    "HistogramRecord",
    "LabelRecord",
    "LedgerRecord",
    "LinkRecord",
    "PromptRecord",
    "ReadingRecord",
    "SaidRecord",
    "SharesRecord",
    "TargetRecord",
    "Text",
    "WireRecord",
    "wire_json",
]

WIRE_VERSION = 1


def _any_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, and is {type(value).__name__}")
    return value


Text: TypeAlias = Annotated[str, PlainValidator(_any_text), WithJsonSchema({"type": "string"})]
_Word: TypeAlias = Literal["confirmed", "refuted", "untested"]


class WireRecord(BaseModel):
    """What all records have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnRecord(WireRecord):
    """Where a column lies in the binary data: little-endian, at a multiple of eight bytes."""

    name: str
    dtype: Literal["u8", "i16", "i32", "f32", "f64"]
    shape: tuple[int, ...]
    offset: int


class PromptRecord(WireRecord):
    """The tokenised prompt."""

    ids: tuple[int, ...]
    pieces: tuple[Text, ...]
    text: Text
    prepended: int


class TargetRecord(WireRecord):
    """What is explained."""

    name: Text
    position: int
    weight: float
    probability: float | None
    token: int | None


class SharesRecord(WireRecord):
    """Of all influence of the trace, the shares that nodes and edges were kept for."""

    nodes: float | None
    edges: float | None


class GroupRecord(WireRecord):
    """A supernode; members are numbers of nodes."""

    name: Text
    members: tuple[int, ...]
    reason: Text
    by: Text


class EntryRecord(WireRecord):
    """One part of the unit of influence."""

    name: str
    share: float
    state: Literal["shown", "unexplained", "left out"]
    words: str


class LedgerRecord(WireRecord):
    """Where the unit of influence ends, and sentences about what no entry counts."""

    entries: tuple[EntryRecord, ...]
    sentences: tuple[str, ...]


class ReadingRecord(WireRecord):
    """Both scores in one reading."""

    reading: str
    replacement: float
    completeness: float
    words: str


class FactsRecord(WireRecord):
    """Where the graph comes from."""

    model: Text
    basis: Text
    model_fingerprint: str
    basis_fingerprint: str
    gate_rule: str | None
    selection: Text
    work: Text
    versions: dict[str, str]


class LabelRecord(WireRecord):
    """What a feature or node is called, and what that rests on.

    `text` is empty where no name is earned; `agrees` says whether the feature does in this prompt what its label says.
    """

    text: Text
    kind: str | None = None
    score: float | None = None
    nulls: dict[str, float] = {}
    evidence: Text = ""
    by: Text = ""
    agrees: bool | None = None


class ClaimRecord(WireRecord):
    """A claim with its verdict; members are numbers of nodes. What was not measured is null."""

    name: Text
    members: tuple[int, ...]
    predicted: float
    direct: float
    effect: float | None
    low: float | None
    high: float | None
    verdict: _Word
    why: str
    p: float | None
    n_controls: int


class LinkRecord(WireRecord):
    """A claim about the inside: without the members, what is read changes by so much of itself.

    Between groups ("group"), along an edge by all paths that are shown ("paths"), and by the edge alone ("direct").
    """

    kind: Literal["group", "paths", "direct"]
    name: Text
    to: Text
    members: tuple[int, ...]
    reads: tuple[int, ...]
    predicted: float
    effect: float | None
    low: float | None
    high: float | None
    verdict: _Word
    why: str
    p: float | None
    n_controls: int


class EvidenceDocument(WireRecord):
    """What is known about the claims of a graph: about its answer, and about its inside."""

    target: int
    name: Text
    value: float
    probability: float | None
    rate: float
    claims: tuple[ClaimRecord, ...]
    links: tuple[LinkRecord, ...]


class HistogramRecord(WireRecord):
    """How many activations lie between each two edges."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class ExampleRecord(WireRecord):
    """One place where a feature is active, the tokens around it, and which of them it is."""

    tokens: tuple[Text, ...]
    activations: tuple[float, ...]
    at: int


class SaidRecord(WireRecord):
    """A token, and what a unit of activation does to its logit."""

    token: Text
    logit: float


class FeatureDocument(WireRecord):
    """What a feature does over a corpus. `deciles` are ten lists of examples, the weakest first."""

    layer: int
    index: int
    count: int
    n_positions: int
    density: float
    mean: float
    largest: float
    negative: int
    histogram: HistogramRecord
    strongest: tuple[ExampleRecord, ...]
    deciles: tuple[tuple[ExampleRecord, ...], ...]
    promoted: tuple[SaidRecord, ...]
    suppressed: tuple[SaidRecord, ...]
    label: LabelRecord | None


class FeaturesDocument(WireRecord):
    """Features by `layer.index`."""

    features: dict[str, FeatureDocument]


class GraphDocument(WireRecord):
    """A graph, but for its columns. `labels` are by node name, `features` by `layer.index`."""

    schema_version: Literal[1] = WIRE_VERSION
    kind: Literal["graph"] = "graph"
    model: Text
    basis: Text
    prompt: PromptRecord
    targets: tuple[TargetRecord, ...]
    shares: SharesRecord
    n_layers: int
    supernodes: tuple[GroupRecord, ...]
    ledger: LedgerRecord | None
    scores: tuple[ReadingRecord, ...]
    facts: FactsRecord | None
    pieces: dict[str, Text]
    labels: dict[str, LabelRecord]
    evidence: EvidenceDocument | None
    features: dict[str, FeatureDocument]
    kept: Text
    """Scores, ledger, facts and what another tool's file said, in JSON as the graph's manifest has them: the page shows
    them in other words, and gives them back where the graph is exported."""
    columns: tuple[ColumnRecord, ...]


def wire_json(record: WireRecord) -> bytes:
    """A record as JSON in ASCII, which holds half characters too; the same record gives the same bytes."""
    return json.dumps(record.model_dump(), allow_nan=False, separators=(",", ":")).encode("ascii")
