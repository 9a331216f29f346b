"""The numbers by which a change is measured: logits less the mean of all, or the activations of features."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from micrographia.errors import CallError, UnsupportedError
from micrographia.evidence.bench import Bench
from micrographia.evidence.rows import Outcome
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind, NodeId
from micrographia.ids import Layer
from micrographia.model.model import Model

__all__ = ["FeatureReadout", "Readout", "readout_of"]

_MINUS = " − "


@dataclass(frozen=True, slots=True)
class Readout:
    """A sum of logits at one position, each less the mean of all logits there."""

    name: str
    position: int
    coefficients: Mapping[int, float]

    def value(self, logits: Float[Tensor, "row d_vocab"]) -> Float[Tensor, " row"]:
        wide = logits.double()
        mean = wide.mean(-1)
        read = [c * (wide[:, token] - mean) for token, c in self.coefficients.items()]
        return sum(read[1:], read[0])

    def probability(self, logits: Float[Tensor, "row d_vocab"]) -> Float[Tensor, " row"] | None:
        """Of the token, where it is one."""
        if len(self.coefficients) > 1:
            return None
        [token] = self.coefficients
        return logits.double().softmax(-1)[:, token]


@dataclass(frozen=True, slots=True)
class FeatureReadout:
    """The weighted mean of features' activations, each over its clean value, less 1: the part that they gain."""

    features: tuple[NodeId, ...]
    weights: tuple[float, ...]

    @property
    def layers(self) -> set[int]:
        """The layers that must be read for it."""
        return {node.layer for node in self.features if node.layer is not None}

    def gain(self, bench: Bench, found: Outcome) -> Float[Tensor, " row"]:
        """On each row of a run; what nothing could reach gains nothing."""
        whole = found.logits.new_zeros(len(found.logits), dtype=found.logits.dtype)
        for (layer, position), (indices, weights) in self._places().items():
            if position < found.start or Layer(layer) not in found.read:
                continue
            encode = bench.encoder(layer)
            if encode is None:
                raise UnsupportedError(f"The basis leaves out layer {layer}, so that nothing can be read there.")
            now = encode(found.read[Layer(layer)][:, position - found.start])[:, indices]
            clean = bench.active(layer)[position, indices]
            whole = whole + (now / clean - 1.0) @ clean.new_tensor(weights)
        return whole

    def _places(self) -> dict[tuple[int, int], tuple[list[int], list[float]]]:
        places: dict[tuple[int, int], tuple[list[int], list[float]]] = {}
        for node, weight in zip(self.features, self.weights, strict=True):
            assert node.layer is not None, "only features are read"
            assert node.position is not None, "only features are read"
            assert node.index is not None, "only features are read"
            indices, weights = places.setdefault((node.layer, node.position), ([], []))
            indices.append(node.index)
            weights.append(weight)
        return places


def readout_of(graph: Graph, target: NodeId, model: Model) -> Readout:
    """How a target of a graph is measured on the real model."""
    i = graph.nodes.find(target)
    if target.kind != Kind.TARGET:
        raise CallError(f"{target} is no target; a claim is about a target, such as target.0.")
    said = graph.targets[int(graph.nodes.index[i])]
    if said.token is not None:
        return Readout(said.name, said.position, {said.token: 1.0})
    names = said.name.split(_MINUS)
    found = [_tokens(name, model) for name in names]
    if len(names) != 2 or any(len(tokens) != 1 for tokens in found):
        raise CallError(
            f"{target} is {said.name!r}, which is neither a token nor a difference of two: the effect on it cannot be "
            "measured in logits. Trace a token, or one token against another."
        )
    [[one], [other]] = found
    return Readout(said.name, said.position, {one: 1.0, other: -1.0})


def _tokens(name: str, model: Model) -> list[int]:
    """The tokens that people read as this."""
    piece = model.tokenizer.piece
    return [token for token in range(model.anatomy.d_vocab) if piece(token) == name]
