"""The heads that carry an edge of a graph: found by the model that it was traced in, and held against the graph."""

import math

import numpy as np
import torch

from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.readout import readout_of
from micrographia.graph.carriers import Carriers, carriers
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind, NodeId
from micrographia.graph.targets import Combination, OfFeature, TargetRow, resolve

__all__ = ["carriers_of"]

_CLOSE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""How far a graph's own edge may be from one that is computed again."""


def carriers_of(bench: Bench, graph: Graph, source: NodeId | str, target: NodeId | str) -> Carriers:
    """Split an edge of a graph over heads; what is not the graph's edge is refused."""
    start, end = graph.nodes.find(source), graph.nodes.find(target)
    edge = np.flatnonzero((graph.edges.source == start) & (graph.edges.target == end))
    if len(edge) != 1:
        raise CallError(f"There is no edge from {source} to {target} in this graph.")
    parts = carriers(bench.found, graph.nodes.id(start), _row_of(bench, graph, graph.nodes.id(end)))
    weight = float(graph.edges.weight[edge[0]])
    if not math.isclose(parts.edge, weight, rel_tol=_CLOSE.get(bench.model.dtype, 0.05), abs_tol=1e-6):
        raise CallError(
            f"The edge from {source} to {target} is {weight:.4g} in the graph and {parts.edge:.4g} here, so the parts "
            "would not be those of the graph. It was traced in another dtype, or over several positions at once."
        )
    return parts


def _row_of(bench: Bench, graph: Graph, target: NodeId) -> TargetRow:
    """How a node of a graph reads."""
    match target:
        case NodeId(Kind.FEATURE, int(layer), int(position), int(index)):
            wanted = OfFeature(layer, index, position)
        case _:
            readout = readout_of(graph, target, bench.model)
            wanted = Combination(tuple(readout.coefficients), tuple(readout.coefficients.values()), readout.position)
    return resolve(wanted, bench.found, bench.model.tokenizer)[0]
