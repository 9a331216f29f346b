"""One prompt's attribution rows: who made each kept feature and each target what it was, in signed numbers.

A row belongs to a kept feature or to a target, a column to a node. `rows[t, s]` is what source s adds to the
pre-activation (or value) of t through everything linear that lies between them:

    pre[t] = Σ_s rows[t, s] + Σ folded[t]                 for every row, the bias being one of the nodes

Active features that got no row of their own have no column either: what they add is in `folded`, signed, at the
layer and position where they sit, and their sum of magnitudes in `folded_abs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.graph.nodes import Nodes
from micrographia.graph.targets import TargetRow
from micrographia.model.tokens import Prompt

__all__ = ["Trace", "TraceFacts"]


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """Where a trace comes from and what it took."""

    model: str
    model_fingerprint: str
    """A hash of samples of every weight: it tells models apart, it does not weigh their files."""
    basis: str
    """The kind of basis: Neurons, PerLayer, CrossLayer."""
    basis_fingerprint: str
    gate_rule: str | None
    """How a gated neuron is read linearly; None where features are not neurons."""
    selection: str
    """The rule that decided which features got rows."""
    dtype: str
    n_active: int
    """Active features, with a row or without."""
    n_rows: int
    """Rows computed, targets included."""
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    """The largest memory that the process has held resident until the end of this."""
    plan_bytes: int
    """What the plan had foreseen for buffers."""
    threads: int
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, repr=False)
class Trace:
    """The complete attribution rows of one prompt, before any choice of what to show.

    Row i belongs to node `row_node[i]`: kept features in canonical order, then targets.
    """

    prompt: Prompt
    targets: tuple[TargetRow, ...]
    nodes: Nodes
    row_node: Int[Tensor, " row"]
    rows: Float[Tensor, "row node"]
    folded: Float[Tensor, "row layer pos"]
    folded_abs: Float[Tensor, "row layer pos"]
    pre: Float[Tensor, " row"]
    """A feature's pre-activation, a target's value: what the row must add up to."""
    facts: TraceFacts

    def __repr__(self) -> str:
        n = self.nodes
        return (
            f"<Trace of {len(self.targets)} targets on {n.n_positions} tokens: "
            f"{n.n_features} of {self.facts.n_active} active features have rows>"
        )

    @property
    def n_rows(self) -> int:
        return len(self.row_node)

    @property
    def weights(self) -> Float[Tensor, " target"]:
        """The targets' weights, which add up to 1, in float64."""
        return torch.tensor([target.weight for target in self.targets], dtype=torch.float64)

    @property
    def complete_abs(self) -> Float[Tensor, " row"]:
        """Σ |A| over the complete row: every active feature by itself, errors, tokens and bias."""
        return self.rows.abs().sum(1, dtype=torch.float64) + self.folded_abs.sum((1, 2), dtype=torch.float64)

    def honest(self) -> Float[Tensor, "row node"]:
        """The rows with what has no node folded into the error at its layer and position."""
        rows = self.rows.clone()
        rows[:, self.nodes.errors] += self.folded.flatten(1)
        return rows

    def imbalance(self) -> Float[Tensor, " row"]:
        """How far each row's parts are from adding up to what the clean run held; zero up to rounding."""
        return self.honest().sum(1, dtype=torch.float64) - self.pre.double()
