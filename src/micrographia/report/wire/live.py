"""What the page and the server say to each other: requests, lists, jobs and what comes of them."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from micrographia.report.wire.records import EvidenceDocument, Text, WireRecord

__all__ = [
    "Ability",
    "AboutDocument",
    "CancelledEvent",
    "ChangedRecord",
    "CountsRecord",
    "DoneEvent",
    "ErrorDocument",
    "FailedEvent",
    "FeatureList",
    "FeatureRow",
    "GraphList",
    "GraphName",
    "GraphRow",
    "GroupRequest",
    "GroupsRequest",
    "GroupsSaved",
    "JobEvent",
    "JobName",
    "LabelRequest",
    "PartialEvent",
    "ProgressEvent",
    "ShiftRecord",
    "TargetChange",
    "TestRequest",
    "TraceRequest",
    "Traced",
    "WhatIfDocument",
    "WhatIfRequest",
    "WordRecord",
]

Ability: TypeAlias = Literal["trace", "what-if", "test", "label", "group", "attention"]
_Name: TypeAlias = Annotated[str, Field(max_length=200)]
_Words: TypeAlias = Annotated[str, Field(max_length=2_000)]
_Share: TypeAlias = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


# ---------------------------------------------------------------- what is there


class ErrorDocument(WireRecord):
    """Why not, in one sentence."""

    error: Text


class AboutDocument(WireRecord):
    """Who answers. The model is opened when the server has started, which may take a while."""

    version: str
    state: Literal["opening", "ready", "failed"]
    words: Text
    """While it opens, how far it is; where it failed, why."""
    model: Text
    basis: Text
    folder: Text
    """Where graphs are looked for, and new ones are kept."""
    has_atlas: bool
    can: tuple[Ability, ...]


class CountsRecord(WireRecord):
    """How many claims of a graph there are of each verdict."""

    confirmed: int
    refuted: int
    untested: int


class GraphRow(WireRecord):
    """One graph of the list. Where it cannot be read, `error` says why, and the numbers are zero."""

    id: str
    name: Text
    prompt: Text
    targets: tuple[Text, ...]
    model: Text
    basis: Text
    n_nodes: int
    n_edges: int
    evidence: CountsRecord | None
    kept: bool
    """Whether it is a folder of ours, in which groups and evidence are kept."""
    error: Text | None = None


class GraphList(WireRecord):
    """The graphs of the folder; `passed_over` folders lie too deep, or are too many, and were not looked into."""

    graphs: tuple[GraphRow, ...]
    passed_over: int


class GraphName(WireRecord):
    """A graph that is there now."""

    id: str


class FeatureRow(WireRecord):
    """One line of the features browser."""

    layer: int
    index: int
    density: float
    largest: float
    kind: str | None
    label: Text | None
    score: float | None
    promoted: tuple[Text, ...]


class FeatureList(WireRecord):
    """Some of the features that were asked for, of `total`."""

    total: int
    rows: tuple[FeatureRow, ...]


# ---------------------------------------------------------------- what is asked for


class TraceRequest(WireRecord):
    """A new trace; what is left out is as the command has it."""

    prompt: Annotated[str, Field(min_length=1, max_length=100_000)]
    target: _Name | None = None
    against: _Name | None = None
    position: Annotated[int, Field(ge=-(10**6), le=10**6)] = -1
    nodes: Annotated[int, Field(ge=1, le=100_000)] = 2048
    share: _Share = 0.8
    node_share: _Share = 0.8
    edge_share: _Share = 0.98
    basis: Literal["neurons", "transcoders"] | None = None
    """None is the basis that the server was started with."""


class WhatIfRequest(WireRecord):
    """Changes as the command writes them: `25.567@14=x0.5`."""

    changes: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=500)]
    mode: Literal["free", "constrained", "iterative"] = "free"
    tokens: Annotated[tuple[_Name, ...], Field(max_length=20)] = ()


class TestRequest(WireRecord):
    """How long claims are tested."""

    __test__ = False
    seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 60.0


class GroupRequest(WireRecord):
    """A group of nodes, by their names."""

    name: Text
    members: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=100_000)]
    reason: Text = ""


class GroupsRequest(WireRecord):
    """All groups that a graph is to have."""

    groups: Annotated[tuple[GroupRequest, ...], Field(max_length=10_000)]


class GroupsSaved(WireRecord):
    """How many groups there are now, and the claims whose evidence is gone with them."""

    groups: int
    forgotten: tuple[Text, ...]


class LabelRequest(WireRecord):
    """A person's own label; an empty text takes it back."""

    text: _Words


# ---------------------------------------------------------------- what comes of it


class JobName(WireRecord):
    """Work that was begun, or waits."""

    job: str


class ShiftRecord(WireRecord):
    """What was changed, from which value to which."""

    part: str
    before: float
    after: float


class TargetChange(WireRecord):
    """By how much a target of the graph changes, in logits less their mean."""

    node: int
    name: Text
    before: float
    change: float


class WordRecord(WireRecord):
    """A possible next token: its probability before and after, and by how much its logit changes, less the mean."""

    token: int
    piece: Text
    before: float
    after: float
    logit: float


class ChangedRecord(WireRecord):
    """A feature that changes with it, and how long the change in what it writes is."""

    node: str
    before: float
    after: float
    written: float


class WhatIfDocument(WireRecord):
    """The real model's answer to a change."""

    kind: Literal["what-if"] = "what-if"
    mode: Literal["free", "constrained", "iterative"]
    shifts: tuple[ShiftRecord, ...]
    targets: tuple[TargetChange, ...]
    words: tuple[WordRecord, ...]
    changed: tuple[ChangedRecord, ...]
    seconds: float


class Traced(WireRecord):
    """A new graph is kept."""

    kind: Literal["traced"] = "traced"
    id: str


class ProgressEvent(WireRecord):
    """How far the work is; `total` 0 is not known."""

    kind: Literal["progress"] = "progress"
    words: Text
    done: int
    total: int


class PartialEvent(WireRecord):
    """What is known so far."""

    kind: Literal["partial"] = "partial"
    result: EvidenceDocument


class DoneEvent(WireRecord):
    """The end, and what came of it."""

    kind: Literal["done"] = "done"
    result: Traced | WhatIfDocument | EvidenceDocument


class FailedEvent(WireRecord):
    """The end, in one sentence."""

    kind: Literal["failed"] = "failed"
    error: Text


class CancelledEvent(WireRecord):
    """The end: somebody stopped it."""

    kind: Literal["cancelled"] = "cancelled"


JobEvent: TypeAlias = ProgressEvent | PartialEvent | DoneEvent | FailedEvent | CancelledEvent
