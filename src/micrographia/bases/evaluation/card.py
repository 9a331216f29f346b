"""The evaluation card: one record that says how good a basis is, beside what it has to beat.

Nothing in it depends on the day or the clock: the same basis, model, corpus and choices give the same card.
"""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from micrographia.bases.evaluation.bootstrap import Estimate

__all__ = [
    "BasisRecord",
    "Card",
    "Difference",
    "EvaluationConfig",
    "GraphRow",
    "LayerFigures",
    "Provenance",
    "Role",
    "RoundingLoss",
    "Row",
    "Sample",
]

Role: TypeAlias = Literal["basis", "baseline", "peer", "unrounded"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EvaluationConfig(_Record):
    """What is judged on how much text. Position 0 of every passage is left out and counts for nothing."""

    tokens: int = Field(default=12_288, ge=1)
    """Positions for FVU, L0, dead and dense features."""
    train_tokens: int = Field(default=16_384, ge=1)
    """Positions of training text that the baselines are fitted on."""
    all_layers_tokens: int = Field(default=2_048, ge=1)
    """Positions with all layers spliced."""
    one_layer_tokens: int = Field(default=448, ge=1)
    """Positions with each layer spliced alone: the dearest part."""
    prompt_tokens: int = Field(default=8_192, ge=1)
    """Positions among which those are looked for that replacement accuracy asks for."""
    slope_tokens: int = Field(default=256, ge=1)
    """Positions at which slopes are compared."""
    graphs: int = Field(default=0, ge=0)
    """Prompts that are traced, in the basis and in the neurons; 0 traces none."""
    graph_tokens: int = Field(default=16, ge=3)
    """Tokens of such a prompt."""
    graph_nodes: int = Field(default=2_048, ge=1)
    """Features that may get a row of their own."""
    passage: int = Field(default=256, ge=3)
    """Tokens of a passage for FVU and for the baselines' training."""
    short_passage: int = Field(default=64, ge=3)
    """Tokens of a passage for splices and slopes: short, so that few tokens come from many documents."""
    batch: int = Field(default=2_048, ge=1)
    """Tokens that are read at a time; changes speed and memory, and figures by rounding only."""
    draws: int = Field(default=1_000, ge=100)
    """Of documents, for the intervals."""
    seed: int = 0


class LayerFigures(_Record):
    """One layer of one row. What does not apply, or is not defined, is None."""

    layer: int
    n_features: int
    fvu: Estimate | None
    fvu_median: Estimate | None
    l0: Estimate | None
    dead: int | None
    """Features that were never active at all positions for FVU."""
    dense: int | None
    """Features that were active at more than 10 % of them."""
    loss_added: Estimate | None
    """ΔCE with this layer alone spliced."""
    kl: Estimate | None
    recovered_zero: Estimate | None
    """1 − ΔCE / ΔCE of zero in this layer's place; None where the interval of the latter holds 0."""
    recovered_mean: Estimate | None
    cosine_random: Estimate | None
    cosine_real: Estimate | None


class Row(_Record):
    """One contestant: the basis, a baseline, a peer."""

    name: str
    role: Role
    what: str
    fvu: Estimate | None
    """Mean over its layers."""
    fvu_pooled: Estimate | None
    """All errors of all layers over all spreads of all layers."""
    fvu_median: Estimate | None
    """Mean over its layers of the layers' medians over positions."""
    l0: Estimate | None
    """Active features per position, summed over layers."""
    n_features: int
    dead: float | None
    """A share of all features."""
    dense: float | None
    one_layer_loss: Estimate | None
    """ΔCE with one layer spliced; mean over layers."""
    one_layer_kl: Estimate | None
    loss_added: Estimate | None
    """ΔCE with all layers spliced, without error nodes."""
    recovered_zero: Estimate | None
    recovered_mean: Estimate | None
    kl: Estimate | None
    top1: Estimate | None
    """Share of positions with the model's own likeliest token."""
    replacement: Estimate | None
    cosine_random: Estimate | None
    cosine_real: Estimate | None
    layers: tuple[LayerFigures, ...]


class Difference(_Record):
    """The basis minus another row, on the same draws of documents; only between rows of the same layers."""

    other: str
    fvu: Estimate | None
    one_layer_loss: Estimate | None
    loss_added: Estimate | None
    kl: Estimate | None
    top1: Estimate | None
    replacement: Estimate | None


class GraphRow(_Record):
    """Means over the graphs of one basis, of the likeliest tokens behind prompts of held-out text."""

    name: str
    prompts: int
    documents: int
    replacement: Estimate | None
    """The share of influence that ends at tokens, of what ends at tokens or errors; what got no row is an error."""
    completeness: Estimate | None
    shown_replacement: Estimate | None
    """Where what is not shown is an error, too."""
    shown_completeness: Estimate | None
    peer_replacement: Estimate | None
    """As circuit-tracer counts: what got no row is left out."""
    peer_completeness: Estimate | None
    active: Estimate | None
    """Active features of a prompt."""
    nodes: Estimate | None
    edges: Estimate | None
    path_length: Estimate | None
    """Features between a token and the answer."""


class RoundingLoss(_Record):
    """How far the weights are from those before rounding; what that does is said by the row `unrounded`."""

    overall: float
    """Root of the mean square, relative to that of the weights."""
    worst: float
    where: str


class BasisRecord(_Record):
    """What was evaluated, as it lies on the disk."""

    name: str
    kind: str
    layers: tuple[int, ...]
    """Those that it writes to."""
    left_out: tuple[int, ...]
    """The model's other layers; their MLPs stay as they are."""
    storage: str | None
    """How our own files store numbers; None for other tools' files, and for what lies in no file."""
    files: dict[str, str]
    """SHA-256 by file name."""


class Sample(_Record):
    """How much text one part of the card saw."""

    part: str
    split: str
    positions: int
    documents: int


class Provenance(_Record):
    """Everything that decides the figures."""

    model: str
    model_sha256: str
    dtype: str
    device: str
    corpus_sha256: str
    config: EvaluationConfig
    samples: tuple[Sample, ...]
    unigram_tokens: int
    """Tokens of training text that were counted to tell rare ones."""
    bases: tuple[BasisRecord, ...]
    versions: dict[str, str]


class Card(_Record):
    """The card."""

    schema_version: Literal[1] = 1
    kind: Literal["evaluation-card"] = "evaluation-card"
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    graphs: tuple[GraphRow, ...] = ()
    """Of the basis and of the neurons, where graphs were asked for."""
    rounding: RoundingLoss | None
    clean_loss: Estimate | None
    """Cross-entropy of the model as it is, where all layers are spliced."""
    questions: int
    """Tokens that replacement accuracy asks for."""
    notes: tuple[str, ...]
    provenance: Provenance
