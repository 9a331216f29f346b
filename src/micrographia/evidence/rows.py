"""Many interventions as rows of one forward pass.

What no row touches is taken from the clean run: the layers below the lowest place that any of them touches, and the
positions in front of the first, of which later positions only see keys and values. The result is that of one run for
each intervention by itself, up to the rounding of products whose matrices have another number of rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.interventions import Constrained, Free, Iterative, Mode
from micrographia.evidence.placing import Placed, Projected
from micrographia.ids import Layer
from micrographia.model.batch import Batch
from micrographia.model.forward import KeyValues, onward, unembed
from micrographia.model.hooks import Editor, Gate, Hooks
from micrographia.model.site import Point, Site, points_of

__all__ = ["Outcome", "run_rows"]

_SCALES = (
    Point.ATTN_NORM_SCALE,
    Point.ATTN_POST_NORM_SCALE,
    Point.MLP_NORM_SCALE,
    Point.MLP_POST_NORM_SCALE,
)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of some interventions, one row each."""

    logits: Float[Tensor, "row d_vocab"]
    """At the position that was asked for."""
    read: Mapping[Layer, Float[Tensor, "row pos d_model"]]
    """What was asked for of each layer that anything could reach, from `start` on: the normalised input of its MLP."""
    start: int
    """The first position that was run."""


@torch.no_grad()
def run_rows(
    bench: Bench,
    rows: Sequence[Placed],
    mode: Mode,
    *,
    position: int = -1,
    read: Iterable[int] = (),
    point: Point = Point.MLP_IN,
) -> Outcome:
    """Run interventions that were worked out for this mode; logits of one position, -1 being the last. What is read of
    layers is the normalised input of their MLP, if no other `point` is asked for."""
    if not rows:
        raise CallError("There is no intervention to run.")
    at = position % bench.n_positions
    layer, start = min(row.layer for row in rows), min(at, *(row.position for row in rows))
    editing = _Editing(bench, rows, mode, layer, start, at + 1)
    acts: dict[Layer, Tensor] = {}
    readers = {Site(point, Layer(one)): [partial(_keep, acts, Layer(one))] for one in read if one >= layer}
    gate = Gate(Hooks(readers, editing.editors()))
    model = bench.model
    past = _prefix(bench, len(rows), layer, start)
    x = onward(model.weights, model.anatomy, editing.batch, gate, editing.begin(), layer=layer, past=past)
    logits = unembed(model.weights, model.anatomy, x[:, -1:], gate)
    return Outcome(logits[:, 0], acts, start)


def _keep(acts: dict[Layer, Tensor], layer: Layer, act: Tensor, site: Site, /) -> None:
    acts[layer] = act


def _prefix(bench: Bench, n_rows: int, layer: int, start: int) -> KeyValues | None:
    """What the positions in front of the first one left to be attended to."""
    if start == 0:
        return None
    turned = Point.K_ROT in points_of(bench.model.anatomy)
    layers = [Layer(one) for one in range(layer, bench.n_layers)]
    device = bench.model.device

    def kept(point: Point, one: int) -> Tensor:
        act = bench.clean(point, one)[:start]
        return act.expand(n_rows, *act.shape)

    return KeyValues(
        keys={one: kept(Point.K_ROT if turned else Point.K, one) for one in layers},
        values={one: kept(Point.V, one) for one in layers},
        positions=torch.arange(start, device=device).expand(n_rows, start),
        real=torch.ones(n_rows, start, dtype=torch.bool, device=device),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Put:
    """Values for some places of an activation [row pos …]."""

    row: Int[Tensor, " put"]
    column: Int[Tensor, " put"]
    index: Int[Tensor, " put"] | None
    """The head or neuron, where the activation has such an axis."""
    value: Float[Tensor, "put ..."]

    def __call__(self, act: Tensor, site: Site, /) -> Tensor:
        new = act.clone()
        where = (self.row, self.column) if self.index is None else (self.row, self.column, self.index)
        new[where] = self.value
        return new


class _Editing:
    """The editors that carry out a batch of interventions, on the columns from `start` up to `end`."""

    def __init__(self, bench: Bench, rows: Sequence[Placed], mode: Mode, layer: int, start: int, end: int) -> None:
        self.bench = bench
        self.rows = rows
        self.mode = mode
        self.layer = layer
        self.start = start
        self.end = max(end, start + 1)
        ids = torch.tensor([bench.prompt.ids[start : self.end]] * len(rows), device=bench.model.device)
        places = torch.arange(start, self.end, device=ids.device).expand(ids.shape)
        lengths = torch.full((len(rows),), self.end, device=ids.device)
        self.batch = Batch(ids=ids, real=None, positions=places, lengths=lengths)
        self._editors: dict[Site, list[Editor]] = {}
        self._now: dict[int, Tensor] = {}
        self._moved: dict[int, Tensor] = {}

    def begin(self) -> Float[Tensor, "row pos d_model"]:
        """The residual in front of the lowest layer that is touched."""
        clean = self.bench.frozen.residuals[self.layer][self.start : self.end]
        x = clean.repeat(len(self.rows), 1, 1)
        for number, row in enumerate(self.rows):
            for position, vector in row.tokens.items():
                if position < self.end:
                    x[number, position - self.start] += vector
        return x

    def editors(self) -> Mapping[Site, Sequence[Editor]]:
        for layer in range(self.layer, self.bench.n_layers):
            self._put_heads(layer)
            self._put_neurons(layer)
            match self.mode:
                case Free():
                    self._put_outputs(layer)
                case Constrained(frozen=frozen):
                    if frozen:
                        self._pin(layer)
                    if layer in self.mode.layers(self.bench.n_layers):
                        self._hold(layer)
                case Iterative():
                    self._replace(layer)
                case _:
                    assert_never(self.mode)
            self._put_stream(layer)
        if isinstance(self.mode, Constrained) and self.mode.frozen:
            last = self.bench.clean(Point.FINAL_NORM_SCALE)[self.end - 1 : self.end]
            self._edit(Point.FINAL_NORM_SCALE, None, lambda act, site, /: last.expand_as(act))
        return self._editors

    def _edit(self, point: Point, layer: int | None, editor: Editor) -> None:
        site = Site(point, None if layer is None else Layer(layer))
        self._editors.setdefault(site, []).append(editor)

    def _clean(self, point: Point, layer: int) -> Float[Tensor, "pos ..."]:
        return self.bench.clean(point, layer)[self.start : self.end]

    # ------------------------------------------------------------ variables of the real model

    def _put(self, found: Sequence[tuple[int, int, int | None, Tensor]]) -> _Put | None:
        """(row, position, index, value) of what lies in the columns that are run."""
        mine = [(row, position - self.start, i, value) for row, position, i, value in found if position < self.end]
        if not mine:
            return None
        rows, columns, indices, values = zip(*mine, strict=True)
        device = self.batch.ids.device
        several = [i for i in indices if i is not None]
        index = torch.tensor(several, device=device) if several else None
        return _Put(torch.tensor(rows, device=device), torch.tensor(columns, device=device), index, torch.stack(values))

    def _put_heads(self, layer: int) -> None:
        found = [
            (number, position, head, value)
            for number, row in enumerate(self.rows)
            for (at, head, position), value in row.heads.items()
            if at == layer
        ]
        if put := self._put(found):
            self._edit(Point.Z, layer, put)

    def _put_neurons(self, layer: int) -> None:
        like = self.bench.frozen.embed
        found = [
            (number, position, neuron, like.new_tensor(value))
            for number, row in enumerate(self.rows)
            for (at, neuron, position), value in row.neurons.items()
            if at == layer
        ]
        if put := self._put(found):
            self._edit(Point.POST, layer, put)

    def _put_stream(self, layer: int) -> None:
        found = [
            (number, position - self.start, each)
            for number, row in enumerate(self.rows)
            for (at, position), several in row.stream.items()
            for each in several
            if at == layer and position < self.end
        ]
        if found:
            self._edit(Point.RESID_POST, layer, partial(_projected, found))

    # ------------------------------------------------------------ what is written by MLPs

    def _written(self, layer: int) -> list[tuple[int, int, Tensor]]:
        return [
            (number, position, vector)
            for number, row in enumerate(self.rows)
            for (at, position), vector in row.written.items()
            if at == layer
        ]

    def _put_outputs(self, layer: int) -> None:
        """Free: clean output and what is added, at the places that are touched."""
        found = self._written(layer)
        if found:
            out = self.bench.clean(Point.MLP_OUT, layer)
            if put := self._put([(row, position, None, out[position] + vector) for row, position, vector in found]):
                self._edit(Point.MLP_OUT, layer, put)

    def _added(self, layer: int) -> Float[Tensor, "row pos d_model"]:
        """The clean output of an MLP in every row, with what is added."""
        out = self._clean(Point.MLP_OUT, layer).repeat(len(self.rows), 1, 1)
        for row, position, vector in self._written(layer):
            if position < self.end:
                out[row, position - self.start] += vector
        return out

    def _hold(self, layer: int) -> None:
        """Constrained: the same at every place, and what the skip path makes of a changed input."""
        held, skip = self._added(layer), self.bench.found.layers[layer].skip
        if skip is None:
            self._edit(Point.MLP_OUT, layer, lambda act, site, /: held)
            return
        clean = self._clean(Point.MLP_IN, layer)
        self._look(layer)
        self._edit(Point.MLP_OUT, layer, lambda act, site, /: held + (self._now.pop(layer) - clean) @ skip.T)

    def _look(self, layer: int) -> None:
        """Remember what an MLP reads until its output is made."""

        def look(act: Tensor, site: Site, /) -> Tensor:
            self._now[layer] = act
            return act

        self._edit(Point.MLP_IN, layer, look)

    def _pin(self, layer: int) -> None:
        """Patterns and norm scales as in the clean run."""
        pattern = self.bench.pattern(layer)[:, self.start : self.end, : self.end]
        self._edit(Point.PATTERN, layer, lambda act, site, /: pattern.expand_as(act))
        for point in _SCALES:
            if point in points_of(self.bench.model.anatomy):
                scale = self._clean(point, layer)
                self._edit(point, layer, lambda act, site, /, scale=scale: scale.expand_as(act))

    def _replace(self, layer: int) -> None:
        """Iterative: the features' sum, with those that are set, as a difference to the clean run."""
        encode = self.bench.encoder(layer)
        features = self.bench.found.layers[layer]
        if features.error is None:
            return  # neurons, which are put as neurons
        base, clean = self._added(layer), self._clean(Point.MLP_IN, layer)
        self._look(layer)

        def out(act: Tensor, site: Site, /) -> Tensor:
            x = self._now.pop(layer)
            if encode is not None:
                now = encode(x.flatten(0, 1)).view(*x.shape[:2], -1)
                self._moved[layer] = self._set(layer, now) - self.bench.active(layer)[self.start : self.end]
            new = base if features.skip is None else base + (x - clean) @ features.skip.T
            for source, moved in self._moved.items():
                if (term := self.bench.found.layers[source].writes.get(Layer(layer))) is not None:
                    wrote = moved @ term.rows
                    new = new + (wrote if term.scale is None else wrote / term.scale[self.start : self.end])
            return new

        self._edit(Point.MLP_OUT, layer, out)

    def _set(self, layer: int, now: Float[Tensor, "row pos feature"]) -> Float[Tensor, "row pos feature"]:
        new = now.clone()
        for number, row in enumerate(self.rows):
            for (at, feature, position), value in row.features.items():
                if at == layer and position < self.end:
                    new[number, position - self.start, feature] = value
        return new


def _projected(found: Sequence[tuple[int, int, Projected]], act: Tensor, site: Site, /) -> Tensor:
    new = act.clone()
    for row, column, each in found:
        new[row, column] += (each.value - new[row, column] @ each.unit) * each.unit
    return new
