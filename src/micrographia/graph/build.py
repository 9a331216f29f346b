"""From a trace to a graph."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from micrographia.bases.basis import Decomposition
from micrographia.graph.carried import carried
from micrographia.graph.graph import Graph, GraphTarget
from micrographia.graph.group import group
from micrographia.graph.ledger import balance
from micrographia.graph.promoted import directions, promoted
from micrographia.graph.prune import Pruning, complete_sums, prune
from micrographia.graph.scores import score
from micrographia.graph.tables import EdgeTable, NodeTable
from micrographia.graph.trace import Trace

__all__ = ["graph_of"]


def graph_of(
    trace: Trace,
    decomposition: Decomposition | None = None,
    piece: Callable[[int], str] = str,
    *,
    node_share: float = 0.8,
    edge_share: float = 0.98,
    top: int = 5,
) -> Graph:
    """What of a trace is worth showing, with its scores and its ledger.

    With the decomposition that was traced, features also say which tokens they promote, `top` each way, and those that
    say the same are grouped; `piece` makes a token's id readable.
    """
    pruning = prune(trace, node_share, edge_share)
    nodes = _nodes(trace, pruning)
    has_skips = decomposition is None or any(layer.skip is not None for layer in decomposition.layers)
    graph = Graph(
        prompt=trace.prompt,
        targets=tuple(
            GraphTarget(each.name, each.position, each.weight, each.probability, each.token) for each in trace.targets
        ),
        nodes=nodes,
        edges=_edges(trace, pruning),
        n_layers=trace.nodes.n_layers,
        node_share=node_share,
        edge_share=edge_share,
        scores=score(trace, pruning),
        ledger=balance(trace, pruning, has_skips=has_skips),
        facts=trace.facts,
    )
    if decomposition is None:
        return graph
    vectors = directions(decomposition, nodes)
    says = promoted(decomposition, nodes, carried(decomposition, nodes), piece, top=top)
    return group(replace(graph, promoted=says), vectors)


def _nodes(trace: Trace, pruning: Pruning) -> NodeTable:
    n, kept = trace.nodes, pruning.nodes
    total, inputs, folded = (torch.full((len(n),), float("nan"), dtype=torch.float64) for _ in range(3))
    total[trace.row_node], inputs[trace.row_node] = trace.pre.double().cpu(), complete_sums(trace).cpu()
    folded[trace.row_node] = trace.folded.sum((1, 2), dtype=torch.float64).cpu()
    return NodeTable(
        kind=_column(n.kind, kept).astype(np.uint8),
        layer=_column(n.layer, kept),
        position=_column(n.position, kept),
        index=_column(n.index, kept),
        activation=_column(n.activation.double(), kept),
        influence=_column(pruning.influence.double(), kept),
        curve=_column(pruning.curve.double(), kept),
        total=_column(total, kept),
        inputs=_column(inputs, kept),
        folded=_column(folded, kept),
    )


def _edges(trace: Trace, pruning: Pruning) -> EdgeTable:
    row, source = pruning.target, pruning.source
    number = pruning.nodes.cumsum(0) - 1
    importance = pruning.importance[row].double()
    return EdgeTable(
        source=number[source].cpu().numpy(),
        target=number[trace.row_node[row]].cpu().numpy(),
        weight=trace.rows[row, source].double().cpu().numpy(),
        share=(pruning.score.double() / importance).cpu().numpy(),
        score=pruning.score.double().cpu().numpy(),
    )


def _column(values: Tensor, kept: Tensor) -> np.ndarray:
    return values.cpu()[kept.cpu()].numpy()
