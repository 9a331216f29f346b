"""What a feature comes to where it is: the change it leaves in the last residual of its own position.

A feature of an early layer hardly points at tokens; later features read it and write what it means. So it is carried
upwards at its position, through that position's own attention and active features, all held linear as this prompt left
them. Other positions do not come in: what lies behind is not seen from here, and what lies before is not changed.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from micrographia.bases.basis import Decomposition
from micrographia.graph.adjoint import behind_norm
from micrographia.graph.tables import NodeTable
from micrographia.ids import Layer

__all__ = ["carried"]


@torch.no_grad()
def carried(found: Decomposition, nodes: NodeTable) -> Float[Tensor, "feature d_model"]:
    """For each feature of a graph, as active as it is, in its order."""
    span = nodes.spans["feature"]
    layer, position, index = nodes.layer[span], nodes.position[span], nodes.index[span]
    active = torch.from_numpy(nodes.activation[span].copy()).to(found.frozen.embed)
    left = found.frozen.embed.new_zeros(len(layer), found.frozen.embed.shape[1])
    for here in np.unique(position).tolist():
        some = np.flatnonzero(position == here)
        left[torch.from_numpy(some)] = _at(found, here, layer[some], index[some], active[torch.from_numpy(some)])
    return left


def _at(
    found: Decomposition,
    position: int,
    layer: Int64[np.ndarray, " feature"],
    index: Int64[np.ndarray, " feature"],
    active: Float[Tensor, " feature"],
) -> Float[Tensor, "feature d_model"]:
    """All features of one position at once; those of layers above are still zero."""
    frozen = found.frozen
    here = [features.only(features.position == position) for features in found.layers]
    change: list[Tensor] = []
    state = frozen.embed.new_zeros(len(layer), frozen.embed.shape[1])
    for number, features in enumerate(here):
        attended = frozen.attend_own(number, position, state)
        read = state if frozen.anatomy.parallel else state + attended
        moved = read @ behind_norm(frozen, number, features.read_vectors(), features.position).T
        own = torch.from_numpy(np.flatnonzero(layer == number))
        moved[own, torch.searchsorted(features.feature, torch.from_numpy(index[own.numpy()]).to(own.device))] += active[
            own
        ]
        change.append(moved)
        state = state + attended
        if features.skip is not None:
            scaled = behind_norm(frozen, number, features.skip, features.position.new_full((len(state[0]),), position))
            state = state + read @ scaled.T
        for source, moving in zip(here, change, strict=False):
            if features.layer in source.writes:
                state = state + moving @ source.write_vectors(Layer(number))
    return state
