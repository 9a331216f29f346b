"""What a feature says: the tokens that it makes likelier, and less likely, at its own position."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from micrographia.bases.basis import Decomposition, LayerFeatures
from micrographia.graph.tables import NodeTable
from micrographia.model.readout import token_lengths

__all__ = ["Directions", "Promoted", "directions", "promoted"]

_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Promoted:
    """For each feature of a graph, in its order: the tokens that it points at most where it is active, after all that
    later layers make of it there, and how much it changes their logits against the mean over the vocabulary.

    Tokens are ranked by the cosine: the change over the length of the token's own row of the unembedding.
    """

    tokens: Int64[np.ndarray, "feature top"]
    logits: Float64[np.ndarray, "feature top"]
    suppressed: Int64[np.ndarray, "feature top"]
    suppressed_logits: Float64[np.ndarray, "feature top"]
    pieces: Mapping[int, str]
    """The tokens above, as people read them."""

    def __repr__(self) -> str:
        return f"<Promoted: {self.tokens.shape[1]} tokens each way for {len(self.tokens)} features>"

    def rows(self, chosen: Int64[np.ndarray, " feature"]) -> "Promoted":
        """Of some features only."""
        parts = (self.tokens, self.logits, self.suppressed, self.suppressed_logits)
        return Promoted(*(part[chosen] for part in parts), pieces=self.pieces)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Directions:
    """What each feature of a graph reads and writes, in its order; a cross-layer one writes the sum of its decoders."""

    reads: Float[Tensor, "feature d_model"]
    writes: Float[Tensor, "feature d_model"]

    def __repr__(self) -> str:
        return f"<Directions of {len(self.reads)} features>"


def directions(decomposition: Decomposition, nodes: NodeTable) -> Directions:
    """The read and write vectors of a graph's features, for a unit of activation."""
    span = nodes.spans["feature"]
    columns = (nodes.layer[span], nodes.position[span], nodes.index[span])
    layer, position, index = (torch.from_numpy(column.copy()) for column in columns)
    reads: list[Tensor] = []
    writes: list[Tensor] = []
    for features in decomposition.layers:
        here = layer == features.layer
        if not bool(here.any()):
            continue
        chosen = _chosen(features, position[here], index[here])
        reads.append(chosen.read_vectors())
        writes.append(torch.stack([chosen.write_vectors(to) for to in chosen.writes]).sum(0))
    empty = decomposition.frozen.embed[:0]
    return Directions(torch.cat([empty, *reads]), torch.cat([empty, *writes]))


@torch.no_grad()
def promoted(
    decomposition: Decomposition,
    nodes: NodeTable,
    left: Float[Tensor, "feature d_model"],
    piece: Callable[[int], str],
    *,
    top: int = 5,
) -> Promoted:
    """The tokens that each feature promotes and suppresses by what it leaves in the last residual of its position."""
    position = nodes.position[nodes.spans["feature"]]
    count = min(top, decomposition.frozen.weights.unembed.weight.shape[0])
    lengths = token_lengths(decomposition.frozen.weights)
    tokens, low = (np.zeros((len(left), count), dtype=np.int64) for _ in range(2))
    logits, low_logits = np.zeros((len(left), count)), np.zeros((len(left), count))
    for here in np.unique(position).tolist():
        rows = np.flatnonzero(position == here)
        for some in np.split(rows, range(_AT_ONCE, len(rows), _AT_ONCE)):
            ends = _ends(decomposition, left[torch.from_numpy(some)], here, count, lengths)
            tokens[some], logits[some], low[some], low_logits[some] = ends
    named = np.unique(np.concatenate([tokens, low])).tolist()
    return Promoted(tokens, logits, low, low_logits, {token: piece(token) for token in named})


def _ends(
    decomposition: Decomposition, left: Tensor, position: int, count: int, lengths: Float[Tensor, " d_vocab"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    logits = decomposition.frozen.promotes(left, position).float()
    logits = logits - logits.mean(-1, keepdim=True)
    cosines = logits / lengths
    high, low = cosines.topk(count).indices, cosines.topk(count, largest=False).indices
    parts = (high, logits.gather(1, high), low, logits.gather(1, low))
    first, second, third, fourth = (part.cpu().numpy() for part in parts)
    return first, second, third, fourth


def _chosen(layer: LayerFeatures, position: Int[Tensor, " node"], index: Int[Tensor, " node"]) -> LayerFeatures:
    """One layer's features, only those asked for; they are ordered by position, then feature."""
    wide = int(torch.cat([layer.feature, index]).max()) + 1
    rows = torch.searchsorted(layer.position.cpu() * wide + layer.feature.cpu(), position * wide + index)
    return layer.only(rows.to(layer.position.device))
