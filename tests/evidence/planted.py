"""A small model with a known circuit, and graphs that claim something of it.

Two layers of gated neurons with random weights. In the upper layer, a few *carriers* write what the target's logit
reads; in the lower one a *feeder* writes what all carriers read. Everything else points anywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from micrographia.bases.neurons import Neurons
from micrographia.evidence.bench import Bench
from micrographia.graph.graph import Graph, GraphTarget, Supernode
from micrographia.graph.nodes import NodeId
from micrographia.graph.select import Everything
from micrographia.graph.tables import EdgeTable, NodeTable
from micrographia.graph.trace import Trace
from micrographia.graph.tracing import trace
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from micrographia.model.weights import Linear
from tests.graph.oracle import prompt
from tests.graph.traces import facts

__all__ = ["CARRIERS", "FEEDER", "TARGET", "Planted", "claiming", "origin", "planted"]

TARGET = 5
CARRIERS = (3, 11, 27, 64)
FEEDER = 7
_D_MLP = 120
_PLACE = 5
_SETTLING = 8


@dataclass(frozen=True, eq=False)
class Planted:
    """The model on a prompt, and all of its true edges."""

    bench: Bench
    trace: Trace

    @property
    def last(self) -> int:
        return self.bench.n_positions - 1

    @property
    def carriers(self) -> list[NodeId]:
        return [NodeId.parse(f"1.{index}@{self.last}") for index in CARRIERS]

    @property
    def feeder(self) -> NodeId:
        return NodeId.parse(f"0.{FEEDER}@{self.last}")

    def others(self, n: int, seed: int) -> list[NodeId]:
        """Neurons of the upper layer that point anywhere."""
        drawn = np.random.default_rng(seed).permutation([i for i in range(_D_MLP) if i not in CARRIERS])
        return [NodeId.parse(f"1.{index}@{self.last}") for index in drawn[:n]]

    def edge(self, source: NodeId, target: NodeId | None = None) -> float:
        """What one node truly adds to another, or to the target."""
        t = self.trace
        row = len(t.row_node) - 1 if target is None else t.nodes.find(target)
        return float(t.rows[row, t.nodes.find(source)])


def planted(base: Model, seed: int) -> Planted:
    """The embedding and the attention are those of a tiny Llama; the MLPs are drawn, and the circuit put into them."""
    generator = torch.Generator().manual_seed(seed)
    d = base.anatomy.d_model

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * d**-0.5

    anatomy = replace(
        base.anatomy, n_layers=2, d_mlp=_D_MLP, windows=base.anatomy.windows[:2], rotaries=base.anatomy.rotaries[:2]
    )
    unembed, final = base.weights.unembed.weight, base.weights.final_norm
    reads = (unembed[TARGET] - unembed.mean(0)) * final.gain
    gates, ups, downs = zip(*((drawn(_D_MLP, d), drawn(_D_MLP, d), drawn(d, _D_MLP)) for _ in range(2)), strict=True)
    downs[1][:, list(CARRIERS)] = (reads / reads.norm())[:, None]
    blocks = tuple(
        replace(block, mlp=replace(block.mlp, gate=Linear(gate), up=Linear(up), down=Linear(down)))
        for block, gate, up, down in zip(base.weights.blocks[:2], gates, ups, downs, strict=True)
    )
    model = Model("planted", anatomy, replace(base.weights, blocks=blocks), base.tokenizer)
    for _ in range(_SETTLING):  # what a gated neuron reads depends on what it gets, and so on the feeder
        upper = Neurons().decompose(freeze(model, prompt(model, _PLACE))).layers[1]
        read = upper.read_vectors()[(_PLACE - 1) * _D_MLP + torch.tensor(CARRIERS)].sum(0)
        read = read * base.weights.blocks[1].mlp_norm.gain
        downs[0][:, FEEDER] = read / read.norm()
    found = trace(model, Neurons(), prompt(model, _PLACE), target=TARGET, selection=Everything())
    return Planted(Bench(model, Neurons(), prompt(model, _PLACE)), found)


def claiming(
    place: Planted,
    edges: Mapping[tuple[NodeId, NodeId | None], float],
    supernodes: Sequence[Supernode] = (),
) -> Graph:
    """A graph of these edges, whoever they are from; None is the target."""
    found = {node for pair in edges for node in pair if node is not None}
    features = sorted(found, key=lambda node: (node.layer, node.position, node.index))
    nodes = [*features, NodeId.parse("target.0")]
    n, t = place.trace.nodes, len(features)
    clean = [float(n.activation[n.find(node)]) for node in features]
    value = float(place.trace.pre[-1])
    pairs = sorted(
        (t if target is None else features.index(target), features.index(source), weight)
        for (source, target), weight in edges.items()
    )
    target, source, weight = (np.array(column) for column in zip(*pairs, strict=True))
    share = np.abs(weight) / np.abs(weight).sum()
    influence = np.bincount(source, share, t + 1)
    return Graph(
        prompt=place.bench.prompt,
        targets=(GraphTarget(f"t{TARGET}", place.last, 1.0, 0.5, TARGET),),
        nodes=NodeTable(
            kind=np.array([node.kind for node in nodes], dtype=np.uint8),
            layer=np.array([-1 if node.layer is None else node.layer for node in nodes]),
            position=np.array([*(node.position for node in features), place.last]),
            index=np.array([node.index for node in nodes]),
            activation=np.array([*clean, value]),
            influence=influence.astype(np.float64),
            curve=np.ones(t + 1),
            total=np.array([*clean, value]),
            inputs=np.ones(t + 1),
            folded=np.zeros(t + 1),
        ),
        edges=EdgeTable(source.astype(np.int64), target.astype(np.int64), weight.astype(np.float64), share, share),
        n_layers=2,
        facts=origin(place.bench),
        supernodes=tuple(supernodes),
    )


def origin(bench: Bench):
    model, basis = bench.fingerprints()
    return facts(model=bench.model.name, model_fingerprint=model, basis="Neurons", basis_fingerprint=basis)
