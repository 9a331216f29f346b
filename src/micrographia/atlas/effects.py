"""What features do to the logits by themselves: the tokens that each promotes and suppresses most.

Tokens are ranked by the cosine of what a feature writes with the token's row of the unembedding, seen through the final
norm's gain and against the mean over the vocabulary: rows differ threefold in length, and ranked by the change of the
logit itself the same long ones lead in most features. Both numbers are kept. A feature that writes to several layers
counts with the sum of what it writes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.atlas.fingerprint import FeatureBasis
from micrographia.bases.neurons import Neurons
from micrographia.bases.transcoder import CrossLayer, PerLayer
from micrographia.ids import Layer
from micrographia.model.weights import NormWeights, Weights

__all__ = ["Effects", "row_norms", "written_by"]

_AT_ONCE = 512


def written_by(basis: FeatureBasis, weights: Weights, layer: Layer) -> Float[Tensor, "feature d_model"]:
    """What a unit of each feature's activation adds to the residual stream."""
    match basis:
        case Neurons():
            rows, norm = weights.blocks[layer].mlp.down.weight.T, weights.blocks[layer].mlp_post_norm
            return rows if norm is None else _centred(norm, rows) * norm.gain
        case PerLayer(layers):
            return layers[layer].decoder
        case CrossLayer(_, decoders):
            return decoders[layer].sum(0)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """The unembedding as features see it: one direction per token, of length one, and the lengths."""

    directions: Float[Tensor, "d_vocab d_model"]
    lengths: Float[Tensor, " d_vocab"]

    @staticmethod
    def of(weights: Weights) -> "Effects":
        wide = torch.promote_types(weights.embed.dtype, torch.float32)
        norm = weights.final_norm
        rows = weights.unembed.weight.to(wide) * norm.gain.to(wide)
        rows = _centred(norm, rows - rows.mean(0))
        lengths = row_norms(rows).clamp(min=torch.finfo(wide).tiny)
        return Effects(rows / lengths[:, None], lengths)

    def ends(self, written: Float[Tensor, "feature d_model"], top: int) -> dict[str, np.ndarray]:
        """The `top` tokens at each end: ids, cosines, and what a unit of activation at a norm scale of one adds."""
        top = min(top, len(self.lengths))
        dtype = np.uint16 if len(self.lengths) <= 1 << 16 else np.uint32
        parts = [self._block(rows, top) for rows in torch.split(written.to(self.lengths.dtype), _AT_ONCE)]
        found: dict[str, np.ndarray] = {}
        for side in ("promoted", "suppressed"):
            tokens, cosines, logits = (torch.cat([part[side][i] for part in parts]).cpu().numpy() for i in range(3))
            found |= {
                f"{side}.token": tokens.astype(dtype),
                f"{side}.cosine": cosines.astype(np.float16),
                f"{side}.logit": np.clip(logits, -65504, 65504).astype(np.float16),
            }
        return found

    def cosines(self, written: Float[Tensor, "feature d_model"]) -> Iterator[Float[Tensor, "some d_vocab"]]:
        """The cosine of every feature with every token, some features at a time."""
        for rows in torch.split(written.to(self.lengths.dtype), _AT_ONCE):
            lengths = row_norms(rows).clamp(min=torch.finfo(rows.dtype).tiny)
            yield (rows / lengths[:, None]) @ self.directions.T

    def _block(self, rows: Float[Tensor, "feature d_model"], top: int) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        (cosines,) = self.cosines(rows)
        lengths = row_norms(rows)[:, None]
        found: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        for side, largest in (("promoted", True), ("suppressed", False)):
            best = cosines.topk(top, largest=largest)
            found[side] = (best.indices, best.values, best.values * lengths * self.lengths[best.indices])
        return found


def row_norms(rows: Float[Tensor, "row d_model"]) -> Float[Tensor, " row"]:
    """How long each row is."""
    return rows.square().sum(1).sqrt()


def _centred(norm: NormWeights, rows: Tensor) -> Tensor:
    return rows - rows.mean(-1, keepdim=True) if norm.centred else rows
