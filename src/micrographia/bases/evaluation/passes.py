"""Two forward passes: the model as it is, each MLP shown as it passes, and the model with a stand-in everywhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from micrographia.bases.evaluation.passages import PassageBatch
from micrographia.bases.evaluation.standin import MlpView, StandIn, wide
from micrographia.ids import Layer
from micrographia.model.forward import Stream, forward
from micrographia.model.hooks import Gate, Hooks, Reader
from micrographia.model.model import Model
from micrographia.model.site import Point, Site
from micrographia.model.weights import BlockWeights, Linear, MlpWeights, Weights

__all__ = ["See", "Watched", "everywhere", "watch"]

See: TypeAlias = Callable[[MlpView, Float[Tensor, "row d_model"]], None]
"""Is shown an MLP and what it writes, at some positions; layers come upwards."""


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """What the model as it is left behind."""

    residuals: Mapping[Layer, Stream]
    """Behind each block; behind the last one only, unless all are wanted."""
    first: Mapping[Layer, Float[Tensor, "batch d_model"]]
    """What each MLP wrote at position 0."""

    @property
    def last(self) -> Stream:
        """The residual behind the last block."""
        return self.residuals[max(self.residuals)]


def watch(
    model: Model,
    passages: PassageBatch,
    see: See | None = None,
    *,
    where: Bool[Tensor, "batch pos"] | None = None,
    residuals: bool = False,
) -> Watched:
    """Run the model as it is and show every MLP at the chosen positions, or at all."""
    watcher, n_layers = _Watcher(see, where, wide(model)), model.anatomy.n_layers
    parts: list[tuple[Point, Reader]] = [(Point.MLP_OUT, watcher.show)]
    if see is not None:
        parts += [(Point.MLP_IN, watcher.hold), (Point.POST, watcher.hold)]
    readers = {Site(point, Layer(layer)): [reader] for layer in range(n_layers) for point, reader in parts}
    for layer in range(0 if residuals else n_layers - 1, n_layers):
        readers[Site(Point.RESID_POST, Layer(layer))] = [watcher.keep]
    _run(model, model.weights, passages, Hooks(readers=readers))
    return Watched(watcher.residuals, watcher.first)


def everywhere(model: Model, passages: PassageBatch, stand_in: StandIn, clean: Watched) -> Stream:
    """Run the model with a stand-in for all MLPs of its layers, error left out; the residual behind the last block.

    At position 0, which sees nothing else, the MLPs write what they wrote in the clean run.
    """
    splicer, last = _Splicer(stand_in, clean.first, wide(model)), Layer(model.anatomy.n_layers - 1)
    kept: list[Tensor] = []
    hooks = Hooks(
        readers={
            **{Site(Point.MLP_IN, layer): [splicer.hold] for layer in stand_in.layers},
            Site(Point.RESID_POST, last): [lambda act, site, /: kept.append(act)],
        },
        editors={Site(Point.MLP_OUT, layer): [splicer.splice] for layer in stand_in.layers},
    )
    _run(model, _hollow(model.weights, stand_in.layers), passages, hooks)
    return kept[0]


@final
class _Watcher:
    """Holds one MLP's parts until its output is there."""

    def __init__(self, see: See | None, where: Bool[Tensor, "batch pos"] | None, dtype: torch.dtype) -> None:
        self._see, self._where, self._dtype = see, where, dtype
        self._held: dict[Point, Tensor] = {}
        self.first: dict[Layer, Tensor] = {}
        self.residuals: dict[Layer, Tensor] = {}

    def hold(self, act: Tensor, site: Site, /) -> None:
        self._held[site.point] = act

    def show(self, act: Tensor, site: Site, /) -> None:
        layer = _layer(site)
        self.first[layer] = act[:, 0].clone()
        if self._see is not None:
            x, post = (self._rows(self._held.pop(point)) for point in (Point.MLP_IN, Point.POST))
            self._see(MlpView(layer, x, post), self._rows(act))

    def keep(self, act: Tensor, site: Site, /) -> None:
        self.residuals[_layer(site)] = act

    def _rows(self, act: Float[Tensor, "batch pos wide"]) -> Float[Tensor, "row wide"]:
        return (act.flatten(0, 1) if self._where is None else act[self._where]).to(self._dtype)


@final
class _Splicer:
    """Puts what a stand-in writes in the place of what the MLPs write."""

    def __init__(self, stand_in: StandIn, first: Mapping[Layer, Tensor], dtype: torch.dtype) -> None:
        self._turn, self._first, self._dtype = stand_in.begin(), first, dtype
        self._x = torch.empty(0)

    def hold(self, act: Tensor, site: Site, /) -> None:
        self._x = act.flatten(0, 1).to(self._dtype)

    def splice(self, act: Tensor, site: Site, /) -> Tensor:
        layer = _layer(site)
        written = self._turn(MlpView(layer, self._x))
        assert written is not None, "a stand-in writes at all its layers"
        new = written.output.to(act.dtype).reshape(act.shape)
        return torch.cat([self._first[layer][:, None], new[:, 1:]], dim=1)


def _run(model: Model, weights: Weights, passages: PassageBatch, hooks: Hooks) -> None:
    with torch.no_grad():
        forward(weights, model.anatomy, passages.batch, Gate(hooks), wanted="none")


def _hollow(weights: Weights, layers: tuple[Layer, ...]) -> Weights:
    """The model with MLPs of no neurons in these layers: what is replaced need not be computed."""
    blocks = tuple(_emptied(block) if layer in layers else block for layer, block in enumerate(weights.blocks))
    return replace(weights, blocks=blocks)


def _emptied(block: BlockWeights) -> BlockWeights:
    up, down = Linear(block.mlp.up.weight[:0]), Linear(block.mlp.down.weight[:, :0])
    return replace(block, mlp=MlpWeights(None if block.mlp.gate is None else up, up, down))


def _layer(site: Site) -> Layer:
    assert site.layer is not None, "MLPs and blocks have layers"
    return site.layer
