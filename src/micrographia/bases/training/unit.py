"""What is trained as one piece: a layer by itself, or all layers of a cross-layer transcoder together.

Units share nothing, so they can be trained in any order, in one process or in several, and end with the same bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from micrographia.bases.training.blocks import Block
from micrographia.ids import Layer

__all__ = ["LayerProgress", "Unit"]


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """How a layer fared over one block."""

    fvu: float
    l0: float
    dead: float
    """The share of features that were not active for so long that they count as dead."""


@runtime_checkable
class Unit(Protocol):
    """Weights that are trained, and all that their training goes on from.

    `train` takes every step on a block. It follows from the state before it and the block alone, so that a unit whose
    `state` was saved and given back ends with the same bits.
    """

    def train(self, block: Block, /) -> Mapping[Layer, LayerProgress]: ...
    def state(self) -> Mapping[str, Tensor]: ...
