"""The rows computed so far, the influence that flows through them, and the folding of what gets no row."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.graph.sweep import Edges

__all__ = ["Flow", "Folded", "RowBlock", "RowBook"]


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """Rows of one call of the sweep."""

    edges: Edges
    layer: Int[Tensor, " row"]
    """The layer of the feature that each row is of; the number of layers for a target."""
    index: Int[Tensor, " row"]
    """Which of its layer's active features, or which target."""
    bias: Float[Tensor, " row"]
    """All that is constant: what the sweep found, and the row's own."""
    total: Float[Tensor, " row"]
    """Σ |A| over the complete row, in float64."""


@dataclass(slots=True, eq=False)
class Flow:
    """How much influence has reached each source, in float64."""

    features: list[Tensor]
    errors: Float[Tensor, "layer pos"]
    tokens: Float[Tensor, " pos"]
    bias: float


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """One layer's columns after the choice: for all rows above it, in the order in which they were computed."""

    kept: Float[Tensor, "row chosen"]
    signed: Float[Tensor, "row pos"]
    magnitude: Float[Tensor, "row pos"]


class RowBook:
    """Rows as they come. Columns stay whole until their layer is folded."""

    def __init__(self, counts: list[list[int]], *, with_bias: bool = True) -> None:
        """`counts[layer][p]` is how many of a layer's sources lie before position p."""
        self.blocks: list[RowBlock] = []
        self._before = counts
        self._with_bias = with_bias

    def add(
        self,
        edges: Edges,
        layer: Int[Tensor, " row"],
        index: Int[Tensor, " row"],
        own_bias: Float[Tensor, " row"],
    ) -> RowBlock:
        """Enter new rows; what describes them is given in the order in which they were asked for."""
        bias = edges.bias + own_bias[edges.row].to(edges.bias.dtype)
        total = edges.errors.abs().sum((1, 2), dtype=torch.float64) + edges.tokens.abs().sum(1, dtype=torch.float64)
        for columns in edges.features:
            if columns is not None:
                total += columns.abs().sum(1, dtype=torch.float64)
        if self._with_bias:
            total += bias.abs().double()
        block = RowBlock(edges, layer[edges.row], index[edges.row], bias, total)
        self.blocks.append(block)
        return block

    @property
    def n_rows(self) -> int:
        return sum(len(block.index) for block in self.blocks)

    def new_flow(self) -> Flow:
        errors, tokens = self.blocks[0].edges.errors, self.blocks[0].edges.tokens
        return Flow(
            [errors.new_zeros(before[-1], dtype=torch.float64) for before in self._before],
            errors.new_zeros(errors.shape[1:], dtype=torch.float64),
            tokens.new_zeros(tokens.shape[1], dtype=torch.float64),
            0.0,
        )

    def pour(self, flow: Flow, block: RowBlock, influence: Float[Tensor, " row"]) -> None:
        """Hand on what has reached a block's rows, given in the block's order, to their sources."""
        part = influence / block.total.clamp(min=torch.finfo(torch.float64).tiny)
        small = part.to(block.bias.dtype)
        for there, columns in zip(flow.features, block.edges.features, strict=True):
            if columns is not None and len(there):
                there.add_(small @ columns.abs())
        flow.errors += torch.einsum("r,rlp->lp", small, block.edges.errors.abs())
        flow.tokens += small @ block.edges.tokens.abs()
        if self._with_bias:
            flow.bias += float(part @ block.bias.abs().double())

    def fold(self, layer: int, chosen: Int[Tensor, " chosen"]) -> Folded:
        """Take a layer's columns out of the book: the chosen ones as they are, the others summed at each position."""
        before = self._before[layer]
        columns = self._columns(layer)
        kept = columns[:, chosen]
        columns[:, chosen] = 0
        signed, magnitude = (columns.new_zeros(len(columns), len(before) - 1) for _ in range(2))
        for position, (first, end) in enumerate(pairwise(before)):
            if end > first:
                signed[:, position] = columns[:, first:end].sum(1)
                magnitude[:, position] = columns[:, first:end].abs_().sum(1)
        return Folded(kept, signed, magnitude)

    def _columns(self, layer: int) -> Float[Tensor, "row source"]:
        """A layer's columns for all rows there are; the blocks let go of theirs."""
        whole = self.blocks[0].bias.new_zeros(self.n_rows, self._before[layer][-1])
        first = 0
        for block in self.blocks:
            mine = block.edges.features[layer]
            if mine is not None:
                whole[first : first + len(mine)] = mine
                block.edges.features[layer] = None
            first += len(block.index)
        return whole
