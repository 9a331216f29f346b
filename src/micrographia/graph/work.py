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
from micrographia.graph.rowbook import Folded
from micrographia.graph.select import Downward, Everything, PeerRanking, Reaching, Selection
from micrographia.graph.sweep import Readings, Sweeper
from micrographia.graph.targets import Injection, TargetRow
from micrographia.store import Progress, silent

__all__ = ["Table", "Work", "is_exact", "narrowed", "readings_of", "without_first"]

_TINY = torch.finfo(torch.float64).tiny


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

    def __init__(
        self,
        found: Decomposition,
        targets: Sequence[TargetRow],
        rule: Selection,
        sweeper: Sweeper,
        *,
        kept: torch.dtype | None = None,
        limit: int | None = None,
    ) -> None:
        """`kept` is a dtype for rows' columns, if not that of the sweep; `limit` is how many bytes they may take."""
        self.found = found
        self.targets = tuple(targets)
        self.rule = rule
        self.sweeper = sweeper
        self.n_positions = len(found.frozen.embed)
        self.peer = isinstance(rule, PeerRanking)
        self._book = sweeper.new_book(kept=kept, peer=self.peer, limit=limit)
        self._counts = [len(layer.feature) for layer in found.layers]
        self._starts = _running(self._counts)
        self._chosen: list[Int[Tensor, " chosen"]] = [layer.position[:0] for layer in found.layers]
        self._folded: dict[int, Folded] = {}

    @property
    def n_layers(self) -> int:
        return len(self.found.layers)

    @property
    def n_rows(self) -> int:
        return self._book.n_rows

    def select(self, progress: Progress = silent) -> tuple[Int[Tensor, " chosen"], ...]:
        """Choose features and compute their rows; which of its active features each layer has kept."""
        match self.rule:
            case Downward() | Everything():
                self._descend(self.rule, progress)
            case Reaching() | PeerRanking():
                self._rank(self.rule, progress)
        return tuple(self._chosen)

    def compute(self, chosen: Sequence[Int[Tensor, " _"]]) -> None:
        """The rows of features that have been chosen elsewhere, of each layer some; columns of others are not held."""
        self._book.expect(chosen, self._counts)
        self._target_rows()
        self._chosen = list(chosen)
        sources = torch.cat([some + start for some, start in zip(chosen, self._starts, strict=False)])
        if len(sources):
            self._feature_rows(sources)

    def _descend(self, rule: Downward | Everything, progress: Progress) -> None:
        """Each layer's features are chosen when all rows above are complete; then its columns are given back."""
        parts = self._target_rows() / self._book.total.clamp(min=_TINY)
        for layer in reversed(range(self.n_layers)):
            flow = (
                self._book.columns[layer].flow(parts)
                if isinstance(rule, Downward)
                else parts.new_ones(self._counts[layer])
            )
            chosen = self._chosen[layer] = rule.choose(flow)
            self._folded[layer] = self._fold(layer)
            if len(chosen):
                rows = self._feature_rows(chosen + self._starts[layer])
                parts = torch.cat([parts, flow[self._book.index[rows]] / self._book.total[rows].clamp(min=_TINY)])
            progress("layers", self.n_layers - layer, self.n_layers)

    def _rank(self, rule: Reaching | PeerRanking, progress: Progress) -> None:
        ranking = Ranking(self._book, self._target_rows(), self._counts)
        if isinstance(rule, Reaching):
            reach(rule, ranking, self._feature_rows, partial(_percent, progress, rule.share))
        else:
            rank_again(rule, ranking, self._feature_rows)
        self._chosen = [flags.nonzero()[:, 0] for flags in cast("Sequence[Tensor]", ranking.seen.split(self._counts))]

    def _fold(self, layer: int) -> Folded:
        return self._book.fold(layer, self._chosen[layer], self._counts[layer])

    # ------------------------------------------------------------ rows

    def _target_rows(self) -> Float[Tensor, " row"]:
        """Enter the targets' rows; the targets' weights in the order of the rows, in float64."""
        n, device = len(self.targets), self.found.frozen.embed.device
        bias, weights = (
            torch.tensor(values, dtype=torch.float64, device=device)
            for values in ([t.bias for t in self.targets], [t.weight for t in self.targets])
        )
        readings = _of_targets(self.targets)
        places = torch.full((n,), self.n_layers, device=device), torch.arange(n, device=device)
        self._add(readings, *places, bias)
        return weights[self._book.index]

    def _feature_rows(self, sources: Int[Tensor, " source"]) -> slice:
        """Enter rows of active features: which rows they are in the book."""
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

    def _add(self, readings: Readings, layer: Tensor, index: Tensor, bias: Tensor) -> slice:
        return self._book.add(self.sweeper.rows(readings, self._book), layer, index, bias)

    # ------------------------------------------------------------ the result

    def table(self) -> Table:
        """Everything in canonical order. Layer after layer is folded, so that columns are never there twice."""
        nodes = self._nodes()
        firsts = _running([len(chosen) for chosen in self._chosen])
        place = self._places(firsts)
        rows = self._book.tokens.new_zeros(len(place), len(nodes))
        folded, folded_abs, errors = (rows.new_zeros(len(place), self.n_layers, self.n_positions) for _ in range(3))
        for layer in reversed(range(self.n_layers)):
            one = self._folded.pop(layer, None) or self._fold(layer)
            there = place[one.rows]
            rows[:, firsts[layer] : firsts[layer + 1]].index_copy_(0, there, one.kept.to(rows.dtype))
            folded[:, layer].index_copy_(0, there, one.signed.to(rows.dtype))
            folded_abs[:, layer].index_copy_(0, there, one.magnitude.to(rows.dtype))
            if one.errors is not None:
                errors[:, layer].index_copy_(0, there, one.errors.to(rows.dtype))
        if self.peer:
            folded[:, :, 0] += errors[:, :, 0]
            folded_abs[:, :, 0] += errors[:, :, 0].abs()
            errors[:, :, 0] = 0
        rows[:, nodes.errors] = errors.flatten(1)
        rows[:, nodes.tokens].index_copy_(0, place, self._book.tokens)
        rows[place, nodes.bias] = self._book.bias
        row_node = torch.arange(len(place), device=place.device)
        row_node[nodes.n_features :] += nodes.targets.start - nodes.n_features
        pre = nodes.activation[row_node].to(rows.dtype)
        return Table(nodes, row_node, rows, folded, folded_abs, pre)

    def _places(self, firsts: list[int]) -> Int[Tensor, " row"]:
        """Where each row of the book lies in the table: features in canonical order, then targets."""
        layer, place = self._book.layer, self._book.index + firsts[-1]
        for number, chosen in enumerate(self._chosen):
            mine = (layer == number).nonzero()[:, 0]
            place[mine] = firsts[number] + torch.searchsorted(chosen, self._book.index[mine])
        return place

    def _nodes(self) -> Nodes:
        frozen, layers = self.found.frozen, self.found.layers
        picked = list(zip(layers, self._chosen, strict=True))
        nothing = frozen.embed.new_zeros(self.n_positions)
        errors = torch.stack([nothing if layer.error is None else layer.error.norm(dim=1) for layer in layers])
        if self.peer:
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
        layers.append(replace(features.only(features.position > 0), error=error))
    return replace(found, layers=tuple(layers))


def is_exact(found: Decomposition) -> bool:
    """Whether features and constants are all that is written, each at the layer of its own."""
    return all(one.error is None and one.skip is None and list(one.writes) == [one.layer] for one in found.layers)


def narrowed(found: Decomposition, chosen: Sequence[Int[Tensor, " _"]]) -> Decomposition:
    """With some of each layer's features, of an exact basis; what the others write is the error."""
    layers: list[LayerFeatures] = []
    for features, some in zip(found.layers, chosen, strict=True):
        written = found.frozen.mlp(features.layer) - features.constant
        one = features.only(some)
        layers.append(replace(one, error=written - one.written(one.layer, len(written))))
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


def _distinct(numbers: Int[Tensor, " some"]) -> list[int]:
    return sorted(set(cast("list[int]", numbers.tolist())))


def _running(counts: Sequence[int]) -> list[int]:
    return [0, *accumulate(counts)]
