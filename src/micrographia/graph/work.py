"""One trace at work: rows of targets and features, the choice among features, and the table that comes out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.bases.basis import Decomposition, LayerFeatures
from micrographia.graph.adjoint import behind_norm
from micrographia.graph.nodes import Nodes
from micrographia.graph.ranking import Ranking, rank_again, reach
from micrographia.graph.rowbook import Folded, RowBlock, RowBook
from micrographia.graph.select import Downward, Everything, PeerRanking, Reaching, Selection
from micrographia.graph.sweep import Readings, Sweeper
from micrographia.graph.targets import Injection, TargetRow
from micrographia.store import Progress, silent

__all__ = ["Table", "Work", "readings_of", "without_first"]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What a trace holds, in canonical order."""

    nodes: Nodes
    row_node: Int[Tensor, " row"]
    rows: Float[Tensor, "row node"]
    folded: Float[Tensor, "row layer pos"]
    folded_abs: Float[Tensor, "row layer pos"]
    pre: Float[Tensor, " row"]


class Work:
    """`select`, then `table`. Active features are numbered through all layers, in canonical order."""

    def __init__(self, found: Decomposition, targets: Sequence[TargetRow], rule: Selection, sweeper: Sweeper) -> None:
        self.found = found
        self.targets = tuple(targets)
        self.rule = rule
        self.sweeper = sweeper
        self.n_positions = len(found.frozen.embed)
        peer = isinstance(rule, PeerRanking)
        self._withheld: list[Tensor] | None = [] if peer else None
        self._book = RowBook([_before(layer, self.n_positions) for layer in found.layers], with_bias=not peer)
        sizes = [0, *(len(layer.feature) for layer in found.layers)]
        self._starts = list(accumulate(sizes))
        self._chosen: dict[int, Int[Tensor, " chosen"]] = {}
        self._folded: dict[int, Folded] = {}

    @property
    def n_layers(self) -> int:
        return len(self.found.layers)

    @property
    def n_rows(self) -> int:
        return self._book.n_rows

    def select(self, progress: Progress = silent) -> None:
        """Choose features and compute their rows."""
        match self.rule:
            case Downward() | Everything():
                self._descend(self.rule, progress)
            case Reaching() | PeerRanking():
                self._rank(self.rule, progress)

    def _descend(self, rule: Downward | Everything, progress: Progress) -> None:
        """Each layer's features are chosen when all rows above are complete; then its columns are given back."""
        first, weights = self._target_rows()
        flow = self._book.new_flow()
        self._book.pour(flow, first, weights[first.index])
        for layer in reversed(range(self.n_layers)):
            chosen = rule.choose(flow.features[layer])
            self._keep(layer, chosen)
            if len(chosen):
                block = self._feature_rows(chosen + self._starts[layer])
                self._book.pour(flow, block, flow.features[layer][block.index])
            progress("layers", self.n_layers - layer, self.n_layers)

    def _rank(self, rule: Reaching | PeerRanking, progress: Progress) -> None:
        first, weights = self._target_rows()
        numbers = torch.arange(self.n_layers, device=weights.device)
        layer_of = numbers.repeat_interleave(torch.tensor(self._starts, device=weights.device).diff())
        ranking = Ranking(first, weights[first.index], layer_of)
        if isinstance(rule, Reaching):
            reach(rule, ranking, self._feature_rows, partial(_percent, progress, rule.share))
        else:
            rank_again(rule, ranking, self._feature_rows)
        visited = ranking.visited.sort().values
        for layer in reversed(range(self.n_layers)):
            self._keep(layer, visited[layer_of[visited] == layer] - self._starts[layer])

    def _keep(self, layer: int, chosen: Int[Tensor, " chosen"]) -> None:
        self._chosen[layer], self._folded[layer] = chosen, self._book.fold(layer, chosen)

    # ------------------------------------------------------------ rows

    def _target_rows(self) -> tuple[RowBlock, Float[Tensor, " target"]]:
        """The targets' rows, and the targets' weights."""
        n, device = len(self.targets), self.found.frozen.embed.device
        bias, weights = (
            torch.tensor(values, dtype=torch.float64, device=device)
            for values in ([t.bias for t in self.targets], [t.weight for t in self.targets])
        )
        readings = _of_targets(self.targets)
        places = torch.full((n,), self.n_layers, device=device), torch.arange(n, device=device)
        return self._add(readings, *places, bias), weights

    def _feature_rows(self, sources: Int[Tensor, " source"]) -> RowBlock:
        """Rows of active features."""
        starts = torch.tensor(self._starts[1:], device=sources.device)
        layer_of = torch.bucketize(sources, starts, right=True)
        vectors = self.found.frozen.embed.new_empty(len(sources), self.found.frozen.embed.shape[1])
        bias, position = vectors.new_empty(len(sources)), torch.empty_like(sources)
        for layer in _distinct(layer_of):
            mine = (layer_of == layer).nonzero()[:, 0]
            some = sources[mine] - self._starts[layer]
            position[mine] = self.found.layers[layer].position[some]
            vectors[mine], bias[mine] = readings_of(self.found, layer, some)
        rows = torch.arange(len(sources), device=sources.device)
        readings = Readings(rows, 2 * layer_of + 1, position, vectors, len(sources))
        index = sources - torch.tensor(self._starts, device=sources.device)[layer_of]
        return self._add(readings, layer_of, index, bias.double())

    def _add(self, readings: Readings, layer: Tensor, index: Tensor, bias: Tensor) -> RowBlock:
        edges = self.sweeper.rows(readings, together=isinstance(self.rule, Reaching | PeerRanking))
        if self._withheld is not None:
            self._withheld.append(edges.errors[:, :, 0].clone())
            edges.errors[:, :, 0] = 0
        return self._book.add(edges, layer, index, bias)

    # ------------------------------------------------------------ the result

    def table(self) -> Table:
        """Everything in canonical order."""
        nodes = self._nodes()
        firsts = _running([len(self._chosen[layer]) for layer in range(self.n_layers)])
        place = self._places(firsts)
        blocks = self._book.blocks
        rows = blocks[0].bias.new_zeros(len(place), len(nodes))
        shape = len(place), self.n_layers, self.n_positions
        folded, folded_abs = rows.new_zeros(shape), rows.new_zeros(shape)
        for layer, one in self._folded.items():
            there = place[: len(one.kept)]
            rows[:, firsts[layer] : firsts[layer + 1]].index_copy_(0, there, one.kept)
            folded[:, layer].index_copy_(0, there, one.signed)
            folded_abs[:, layer].index_copy_(0, there, one.magnitude)
        rows[:, nodes.errors].index_copy_(0, place, torch.cat([block.edges.errors.flatten(1) for block in blocks]))
        rows[:, nodes.tokens].index_copy_(0, place, torch.cat([block.edges.tokens for block in blocks]))
        rows[place, nodes.bias] = torch.cat([block.bias for block in blocks])
        if self._withheld is not None:
            withheld = torch.cat(self._withheld)
            folded[place, :, 0] += withheld
            folded_abs[place, :, 0] += withheld.abs()
        row_node = torch.arange(len(place), device=place.device)
        row_node[nodes.n_features :] += nodes.targets.start - nodes.n_features
        pre = nodes.activation[row_node].to(rows.dtype)
        return Table(nodes, row_node, rows, folded, folded_abs, pre)

    def _places(self, firsts: list[int]) -> Int[Tensor, " row"]:
        """Where each row of the book lies in the table: features in canonical order, then targets."""
        places: list[Tensor] = []
        for block in self._book.blocks:
            place = block.index + firsts[-1]
            for layer in _distinct(block.layer[block.layer < self.n_layers]):
                mine = block.layer == layer
                place[mine] = firsts[layer] + torch.searchsorted(self._chosen[layer], block.index[mine])
            places.append(place)
        return torch.cat(places)

    def _nodes(self) -> Nodes:
        frozen, layers = self.found.frozen, self.found.layers
        picked = [(layer, self._chosen[number]) for number, layer in enumerate(layers)]
        nothing = frozen.embed.new_zeros(self.n_positions)
        errors = torch.stack([nothing if layer.error is None else layer.error.norm(dim=1) for layer in layers])
        if self._withheld is not None:
            errors[:, 0] = 0
        device = frozen.embed.device
        return Nodes.of(
            (
                torch.cat([torch.full_like(some, layer.layer) for layer, some in picked]),
                torch.cat([layer.position[some] for layer, some in picked]),
                torch.cat([layer.feature[some] for layer, some in picked]),
            ),
            torch.cat([layer.activation[some] for layer, some in picked]),
            errors,
            torch.tensor(frozen.prompt.ids, device=device),
            cast("Tensor", frozen.embed.norm(dim=1)),
            torch.tensor([target.value for target in self.targets], dtype=torch.float64).to(errors),
            torch.tensor([target.position for target in self.targets], device=device),
        )


def readings_of(
    found: Decomposition, layer: int, some: Int[Tensor, " source"]
) -> tuple[Float[Tensor, "source d_model"], Float[Tensor, " source"]]:
    """What some of a layer's active features read from the residual in front of the MLP's norm, and their constants."""
    features, norm = found.layers[layer], found.frozen.weights.blocks[layer].mlp_norm
    index = features.feature[some]
    terms = [t.rows[index] if t.gain is None else t.gain[some, None] * t.rows[index] for t in features.reads]
    read = torch.stack(terms).sum(0)
    constant = features.read_bias[some]
    if norm is not None and norm.bias is not None:
        constant = constant + read @ norm.bias
    return behind_norm(found.frozen, layer, read, features.position[some]), constant


def without_first(found: Decomposition) -> Decomposition:
    """With no feature at the first position: what they write there is among its errors."""
    layers: list[LayerFeatures] = []
    for features in found.layers:
        error = torch.zeros_like(features.constant) if features.error is None else features.error.clone()
        for source in found.layers[: features.layer + 1]:
            if features.layer in source.writes:
                error[0] += source.written(features.layer, len(error))[0]
        later = features.position > 0
        reads = tuple(t if t.gain is None else replace(t, gain=t.gain[later]) for t in features.reads)
        layers.append(
            replace(
                features,
                position=features.position[later],
                feature=features.feature[later],
                activation=features.activation[later],
                reads=reads,
                read_bias=features.read_bias[later],
                error=error,
            )
        )
    return replace(found, layers=tuple(layers))


def _percent(progress: Progress, share: float, followed: float) -> None:
    progress("per cent of the influence", min(round(100 * followed), round(100 * share)), round(100 * share))


def _of_targets(targets: Sequence[TargetRow]) -> Readings:
    parts = [(row, one) for row, target in enumerate(targets) for one in target.injections]
    vectors = torch.stack([one.vector for _, one in parts])
    columns = ([row for row, _ in parts], [_stage(one) for _, one in parts], [one.position for _, one in parts])
    row, stage, position = (torch.tensor(column, device=vectors.device) for column in columns)
    return Readings(row, stage, position, vectors, len(targets))


def _stage(one: Injection) -> int:
    return 2 * one.layer + (one.reads == "mlp")


def _before(layer: LayerFeatures, n_positions: int) -> list[int]:
    """How many of a layer's active features lie before each position, and in all."""
    return _running(cast("list[int]", torch.bincount(layer.position, minlength=n_positions).tolist()))


def _distinct(numbers: Int[Tensor, " some"]) -> list[int]:
    return sorted(set(cast("list[int]", numbers.tolist())))


def _running(counts: Sequence[int]) -> list[int]:
    return [0, *accumulate(counts)]
