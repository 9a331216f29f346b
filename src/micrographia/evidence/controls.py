"""What a claim's members are compared with: steps of the same length, at the same places, along other features.

A claim takes some vectors away from the outputs of some MLPs. A control takes away what as many other features write at
the same layers and positions, made as long as the claim's own step at each place. So it differs from the claim in
nothing but the direction. It is drawn at random among the features that are active there and that the graph does not
show, those nearest in what they write. Where these are used up, features of the layer that are not active stand in.
Where members get other values than 0, a control adds what others write for each member that grows.
"""

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from micrographia.evidence.bench import Bench
from micrographia.evidence.placing import Placed
from micrographia.evidence.verdicts import FEWEST, MOST
from micrographia.graph.nodes import NodeId

__all__ = ["Controls", "Densities"]

Densities = Mapping[int, Float[Tensor, " feature"]]
"""How often each feature of a layer is active in some text."""


@final
class Controls:
    """All controls of one claim, numbered; the same seed gives the same ones."""

    def __init__(
        self,
        bench: Bench,
        members: Sequence[NodeId],
        *,
        shown: Collection[NodeId] = (),
        nearest: int = MOST,
        seed: int = 0,
        densities: Densities | None = None,
        values: Mapping[NodeId, float] = {},
        everywhere: bool = False,
    ) -> None:
        """`shown` are the features that the graph shows: none of them is a control. They are drawn from so many of the
        nearest. `values` are what members become, 0 if not said; `everywhere` counts what a cross-layer feature writes
        to layers above its own, too, as it does where these are held."""
        self._bench = bench
        self._everywhere = everywhere
        self._values = {(node.layer, node.position, node.index): value for node, value in values.items()}
        self._count = nearest
        self._shown = {(node.layer, node.position, node.index) for node in (*shown, *members)}
        self._places: dict[tuple[int, int], list[int]] = {}
        for member in members:
            assert member.layer is not None, "a claim is about features"
            assert member.position is not None, "a claim is about features"
            assert member.index is not None, "a claim is about features"
            self._places.setdefault((member.layer, member.position), []).append(member.index)
        self._seed = [seed, zlib.crc32(" ".join(map(str, members)).encode())]
        self._single = len(members) == 1
        self._pools = {
            place: [self._nearest(place, one, densities) for one in taken] for place, taken in self._places.items()
        }

    def __len__(self) -> int:
        """How many different ones there are, at most; of sets there are always enough."""
        [pool, *others] = [pool for pools in self._pools.values() for pool in pools]
        return len(pool) if not others else self._count if min(map(len, [pool, *others])) else 0

    def step(self) -> Placed:
        """The claim itself: its members put to their values."""
        written: dict[tuple[int, int], Tensor] = {}
        for place, taken in self._places.items():
            for to in self._reached(place):
                _add(written, (to, place[1]), self._change(place, taken, to).sum(0))
        return Placed(written)

    def placed(self, number: int) -> Placed:
        """One control."""
        drawn = np.random.default_rng([*self._seed, number])
        written: dict[tuple[int, int], Tensor] = {}
        for place, taken in self._places.items():
            chosen: list[int] = []
            for pool in self._pools[place]:
                chosen.append(int(pool[number]) if self._single else _first(drawn.permutation(pool), chosen))
            signs = self._signs(place, taken)
            for to in self._reached(place):
                along = signs @ self._wrote(place, chosen, to, at_least=1.0)
                length = _lengths(self._change(place, taken, to).sum(0))
                _add(written, (to, place[1]), along * (length / _lengths(along).clamp_min(1e-30)))
        return Placed(written)

    def _reached(self, place: tuple[int, int]) -> tuple[int, ...]:
        """The layers that the features of a place are taken to write to."""
        return self._bench.written_to(place[0]) if self._everywhere else (place[0],)

    def _amounts(self, place: tuple[int, int], taken: list[int]) -> Float[Tensor, " feature"]:
        """By how much members change."""
        layer, position = place
        clean = self._bench.active(layer)[position, taken]
        return clean.new_tensor([self._values.get((layer, position, index), 0.0) for index in taken]) - clean

    def _signs(self, place: tuple[int, int], taken: list[int]) -> Float[Tensor, " feature"]:
        """1 for members that grow, −1 for those that shrink."""
        clean = self._bench.active(place[0])[place[1], taken]
        return torch.where((clean + self._amounts(place, taken)).abs() > clean.abs(), 1.0, -1.0).to(clean)

    def _change(self, place: tuple[int, int], taken: list[int], to: int) -> Float[Tensor, "feature d_model"]:
        """What the change of members adds at a layer."""
        return self._amounts(place, taken)[:, None] * self._bench.write(place[0], taken, place[1], to)

    def _wrote(
        self, place: tuple[int, int], features: list[int], to: int, at_least: float = 0.0
    ) -> Float[Tensor, "feature d_model"]:
        """What features write to a layer; those that are not active as if they were, where that is asked for."""
        layer, position = place
        activation = self._bench.active(layer)[position, features]
        activation = torch.where(activation == 0, at_least, activation)
        return activation[:, None] * self._bench.write(layer, features, position, to)

    def _nearest(self, place: tuple[int, int], one: int, densities: Densities | None) -> Int64[np.ndarray, " found"]:
        """Features that may stand in for one: the nearest active ones in an order of chance, then silent ones."""
        layer, position = place
        activation = self._bench.active(layer)[position]
        shown = [index for at, where, index in self._shown if (at, where) == place and index is not None]
        others, silent = _places(activation != 0, shown), _places(activation == 0, shown)
        mine = _lengths(self._change(place, [one], layer))[0]
        far = _far(_lengths(self._wrote(place, others.tolist(), layer)), mine)
        if densities is not None:
            far = far + _far(densities[layer][others], densities[layer][one])
        drawn = np.random.default_rng([*self._seed, layer, position, one])
        nearest = drawn.permutation(others[np.argsort(far, kind="stable")[: self._count]])
        wanted = (self._count if self._single else FEWEST) - len(nearest)
        return np.concatenate([nearest, drawn.permutation(silent)[: max(wanted, 0)]])


def _places(chosen: Bool[Tensor, " feature"], without: list[int]) -> Int64[np.ndarray, " found"]:
    found = np.flatnonzero(chosen.cpu().numpy())
    return found[~np.isin(found, without)]


def _add(written: dict[tuple[int, int], Tensor], place: tuple[int, int], vector: Float[Tensor, " d_model"]) -> None:
    written[place] = written[place] + vector if place in written else vector


def _first(order: Int64[np.ndarray, " feature"], chosen: list[int]) -> int:
    """The first that is not chosen yet; where all are, one of them twice."""
    left = order[~np.isin(order, chosen)]
    return int(left[0] if len(left) else order[0])


def _lengths(vectors: Float[Tensor, "... d_model"]) -> Float[Tensor, "..."]:
    return vectors.square().sum(-1).sqrt()


def _far(values: Float[Tensor, " feature"], one: Float[Tensor, ""]) -> Float64[np.ndarray, " feature"]:
    """How far values are from one, as ratios."""
    return ((values + 1e-12).log() - (one + 1e-12).log()).abs().double().cpu().numpy()
