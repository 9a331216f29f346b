"""A graph: what made the model say what it said, as far as it is shown, and how much is not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from micrographia.errors import CallError, UnsupportedError
from micrographia.graph.ledger import Ledger
from micrographia.graph.nodes import Kind, NodeId
from micrographia.graph.paths import Edge, Path, strongest
from micrographia.graph.promoted import Promoted
from micrographia.graph.scores import Scores
from micrographia.graph.tables import EdgeTable, NodeTable
from micrographia.graph.trace import TraceFacts
from micrographia.model.tokens import Prompt

if TYPE_CHECKING:
    import networkx
    import pandas

__all__ = ["Frames", "Graph", "GraphTarget", "Node", "NodeLabel", "Supernode"]


@dataclass(frozen=True, slots=True)
class GraphTarget:
    """What is explained."""

    name: str
    position: int
    weight: float
    """Its share when influences are summed; they add up to 1 over all targets."""
    probability: float | None
    token: int | None


@dataclass(frozen=True, slots=True)
class Supernode:
    """A named group of nodes, and why they belong together."""

    name: str
    members: tuple[NodeId, ...]
    reason: str
    by: str = "micrographia"
    """Who grouped them: `micrographia`, or `user`, whose word counts more."""


@dataclass(frozen=True, slots=True)
class NodeLabel:
    """What a node is called, and what that is worth."""

    text: str = ""
    """Empty where no name is earned."""
    kind: str = ""
    """Of a feature: input, output, both, cross, obscure, dense, dead; empty where nobody has looked."""
    score: float | None = None
    """How well the label tells, in text that it was not made from, where the feature is active; 0.5 is chance."""
    by: str = ""
    """Who named it: a rule, a person, another tool."""
    agrees: bool | None = None
    """Whether the feature does in this prompt what its label says; None where that cannot be told."""


_UNNAMED = NodeLabel()


@dataclass(frozen=True, slots=True)
class Node:
    """All that is known of one node at once."""

    id: NodeId
    words: str
    """A token's or a target's text, a feature's label; empty where there is none."""
    label: NodeLabel | None
    activation: float
    influence: float
    curve: float
    total: float
    inputs: float
    folded: float
    promotes: tuple[tuple[str, float], ...]
    suppresses: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """A graph as two data frames; the edges' `source` and `target` are row numbers of the nodes."""

    nodes: "pandas.DataFrame"
    edges: "pandas.DataFrame"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Graph:
    """Nodes and edges of a trace that are shown, with the books of what is not."""

    prompt: Prompt
    targets: tuple[GraphTarget, ...]
    nodes: NodeTable
    edges: EdgeTable
    n_layers: int
    node_share: float | None = None
    edge_share: float | None = None
    scores: Scores | None = None
    ledger: Ledger | None = None
    facts: TraceFacts | None = None
    promoted: Promoted | None = None
    supernodes: tuple[Supernode, ...] = ()
    labels: Mapping[NodeId, NodeLabel] = field(default_factory=dict[NodeId, NodeLabel])
    foreign: Mapping[str, object] = field(default_factory=dict[str, object])
    """What another tool's file said beyond all this; it is given back when such a file is written."""
    beside: object = None
    """The atlas and labels of the basis, for pages, where a microscope has them; no part of the graph's file."""

    def __repr__(self) -> str:
        names = ", ".join(target.name for target in self.targets[:3]) + (", …" if len(self.targets) > 3 else "")
        return f"<Graph of {names} on {len(self.prompt)} tokens: {self.nodes!r}, {len(self.edges)} edges>"

    def _repr_html_(self) -> str:
        from micrographia.graph.showing import summary

        return summary(self)

    # ------------------------------------------------------------ asking

    def node(self, name: str | NodeId) -> Node:
        """One node by its name: `12.301@5`, `error.12@5`, `token@5`, `bias`, `target.0`."""
        i, n = self.nodes.find(name), self.nodes
        promotes, suppresses = self._says(i)
        return Node(
            id=n.id(i),
            words=self.words(i),
            label=self.labels.get(n.id(i)),
            activation=float(n.activation[i]),
            influence=float(n.influence[i]),
            curve=float(n.curve[i]),
            total=float(n.total[i]),
            inputs=float(n.inputs[i]),
            folded=float(n.folded[i]),
            promotes=promotes,
            suppresses=suppresses,
        )

    def words(self, node: int) -> str:
        """What a node, given by its number, is called beside its name."""
        name = self.nodes.id(node)
        match name.kind:
            case Kind.TOKEN:
                return self.prompt.pieces[int(self.nodes.position[node])]
            case Kind.TARGET:
                return self.targets[int(self.nodes.index[node])].name
            case _:
                return self.labels.get(name, _UNNAMED).text

    def inputs_of(self, name: str | NodeId, n: int | None = None) -> tuple[Edge, ...]:
        """The edges that lead to a node, heaviest first."""
        return self._edges(self.edges.target == self.nodes.find(name), n)

    def outputs_of(self, name: str | NodeId, n: int | None = None) -> tuple[Edge, ...]:
        """The edges that lead from a node, heaviest first."""
        return self._edges(self.edges.source == self.nodes.find(name), n)

    def strongest_paths(self, n: int = 10, *, ends: Kind = Kind.TOKEN) -> tuple[Path, ...]:
        """The paths from tokens (or errors, or the bias) to the targets along which most influence flows."""
        if n < 1 or ends not in (Kind.TOKEN, Kind.ERROR, Kind.BIAS):
            raise CallError("Ask for at least one path; paths begin at tokens, errors or the bias.")
        return strongest(self.nodes, self.edges, np.array([target.weight for target in self.targets]), n, ends)

    def subgraph(self, names: Iterable[str | NodeId]) -> "Graph":
        """Only these nodes, the tokens and the targets, and the edges between them.

        Scores and ledger are of the whole and left behind.
        """
        kept = np.isin(self.nodes.kind, [Kind.TOKEN, Kind.TARGET])
        kept[[self.nodes.find(name) for name in names]] = True
        return self._only(kept)

    def grouped(self, supernodes: Iterable[Supernode]) -> "Graph":
        """The same graph with these groups; a node belongs to at most one."""
        groups, seen = tuple(supernodes), set[NodeId]()
        for group in groups:
            if not group.members:
                raise CallError(f"The group {group.name!r} is empty.")
            for member in group.members:
                self.nodes.find(member)
                if member in seen:
                    raise CallError(f"The node {member} is in two groups; it can be in one.")
                seen.add(member)
        return replace(self, supernodes=groups)

    # ------------------------------------------------------------ other forms

    def to_pandas(self) -> Frames:
        """Nodes and edges as data frames, which need pandas."""
        try:
            import pandas
        except ImportError as error:
            raise UnsupportedError('This needs pandas: pip install "micrographia[pandas]"') from error
        columns = {each.name: getattr(self.nodes, each.name) for each in fields(self.nodes)}
        columns["kind"] = [Kind(kind).name.lower() for kind in self.nodes.kind.tolist()]
        names = {"name": list(map(str, self.nodes)), "words": [self.words(i) for i in range(len(self.nodes))]}
        edges = {each.name: getattr(self.edges, each.name) for each in fields(self.edges)}
        return Frames(pandas.DataFrame({**names, **columns}), pandas.DataFrame(edges))

    def to_networkx(self) -> "networkx.DiGraph[str]":
        """A directed graph whose nodes are names, which needs networkx."""
        try:
            import networkx
        except ImportError as error:
            raise UnsupportedError('This needs networkx: pip install "micrographia[networkx]"') from error
        made: networkx.DiGraph[str] = networkx.DiGraph(prompt=self.prompt.text)
        names = list(map(str, self.nodes))
        for i, name in enumerate(names):
            each = self.node(self.nodes.id(i))
            facts = {"activation": each.activation, "influence": each.influence, "curve": each.curve}
            made.add_node(name, kind=each.id.kind.name.lower(), words=each.words, **facts)
        for i in range(len(self.edges)):
            source, target = names[int(self.edges.source[i])], names[int(self.edges.target[i])]
            made.add_edge(source, target, weight=float(self.edges.weight[i]), share=float(self.edges.share[i]))
        return made

    def save(self, folder: str | FilePath) -> None:
        """Write a folder that `load_graph` opens; it must not be there yet."""
        from micrographia.graph.files import save_graph

        save_graph(self, FilePath(folder))

    def to_html(self, path: str | FilePath, *, evidence: object = None) -> None:
        """Write the page of this graph as one file that opens anywhere, offline: `mg.page(graph)`.

        `evidence` is what `scope.test(graph)` gave.
        """
        from micrographia.graph.showing import write_html

        write_html(self, FilePath(path), evidence)

    def view(self, height: int = 820, *, evidence: object = None) -> object:
        """The page of this graph, for the last line of a notebook's cell; `height` is that of its frame."""
        from micrographia.graph.showing import shown

        return shown(self, height, evidence)

    # ------------------------------------------------------------ parts

    def _edges(self, chosen: Bool[np.ndarray, " edge"], n: int | None) -> tuple[Edge, ...]:
        found = np.flatnonzero(chosen)
        found = found[np.argsort(-np.abs(self.edges.weight[found]), kind="stable")][:n]
        return tuple(self._edge(int(i)) for i in found)

    def _edge(self, i: int) -> Edge:
        e = self.edges
        source, target = self.nodes.id(int(e.source[i])), self.nodes.id(int(e.target[i]))
        return Edge(source, target, float(e.weight[i]), float(e.share[i]), float(e.score[i]))

    def _says(self, node: int) -> tuple[tuple[tuple[str, float], ...], tuple[tuple[str, float], ...]]:
        p = self.promoted
        if p is None or self.nodes.kind[node] != Kind.FEATURE:
            return (), ()
        high = zip(p.tokens[node].tolist(), p.logits[node].tolist(), strict=True)
        low = zip(p.suppressed[node].tolist(), p.suppressed_logits[node].tolist(), strict=True)
        return tuple((p.pieces[token], x) for token, x in high), tuple((p.pieces[token], x) for token, x in low)

    def _only(self, kept: Bool[np.ndarray, " node"]) -> "Graph":
        number = np.cumsum(kept) - 1
        edges = kept[self.edges.source] & kept[self.edges.target]
        nodes = NodeTable(**{each.name: getattr(self.nodes, each.name)[kept] for each in fields(self.nodes)})
        table = EdgeTable(
            number[self.edges.source[edges]],
            number[self.edges.target[edges]],
            *(part[edges] for part in (self.edges.weight, self.edges.share, self.edges.score)),
        )
        there = set(nodes)
        groups = (
            replace(group, members=tuple(member for member in group.members if member in there))
            for group in self.supernodes
        )
        features = np.flatnonzero(kept[self.nodes.spans["feature"]])
        return replace(
            self,
            nodes=nodes,
            edges=table,
            scores=None,
            ledger=None,
            promoted=None if self.promoted is None else self.promoted.rows(features),
            supernodes=tuple(group for group in groups if group.members),
            labels={name: label for name, label in self.labels.items() if name in there},
        )
