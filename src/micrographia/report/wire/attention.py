"""The records of the attention page: every head of a prompt, one head, and the heads that carry an edge."""

from typing import Literal

from micrographia.report.wire.records import ColumnRecord, PromptRecord, SaidRecord, WireRecord

__all__ = ["AttentionDocument", "CarrierRow", "CarriersDocument", "HeadDocument", "HeadRow", "UniformRecord", "Written"]


class HeadRow(WireRecord):
    """What one head looks at, by the scores of `micrographia heads`."""

    layer: int
    head: int
    entropy: float
    previous: float
    first: float
    induction: float


class UniformRecord(WireRecord):
    """The same scores of attention that is uniform; one number for each layer."""

    entropy: tuple[float, ...]
    previous: tuple[float, ...]
    first: tuple[float, ...]
    induction: tuple[float, ...]


class AttentionDocument(WireRecord):
    """All heads of a prompt. The column `shades` holds the square root of each pattern, in 255 steps.

    Where a prompt is long, each shade is the largest of `pooled` × `pooled`.
    """

    kind: Literal["attention"] = "attention"
    prompt: PromptRecord
    n_layers: int
    n_heads: int
    heads: tuple[HeadRow, ...]
    uniform: UniformRecord
    n_repeated: int
    """Random sequences said twice, on which induction was measured."""
    pooled: int
    columns: tuple[ColumnRecord, ...]


class Written(WireRecord):
    """The tokens that a head's output at one position promotes and suppresses through the final norm."""

    promoted: tuple[SaidRecord, ...]
    suppressed: tuple[SaidRecord, ...]


class HeadDocument(WireRecord):
    """One head. Row q of both tables has the keys 0 to q."""

    kind: Literal["head"] = "head"
    layer: int
    head: int
    pattern: tuple[tuple[float, ...], ...]
    moved: tuple[tuple[float, ...], ...]
    """The length of what it brings from each key to each query."""
    written: tuple[Written, ...]
    """At each position."""


class CarrierRow(WireRecord):
    """What one head has to do with an edge."""

    layer: int
    head: int
    last: float
    first: float
    only: float
    through: float


class CarriersDocument(WireRecord):
    """An edge, split over the heads that carry it: `direct` and all `last`, or all `first`, add up to `edge`."""

    kind: Literal["carriers"] = "carriers"
    source: str
    target: str
    edge: float
    direct: float
    several: float
    heads: tuple[CarrierRow, ...]
