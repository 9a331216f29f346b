"""A free intervention as edits of the model room: for one run by itself, and for writing on after the prompt."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from micrographia.bases.neurons import Neurons
from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.interventions import Change, Direction, Feature, Head, Intervention, Neuron
from micrographia.evidence.placing import Placed, Projected
from micrographia.model.edits import Edit, at
from micrographia.model.site import Point, Site

__all__ = ["later_edits", "prompt_edits", "steering"]


def steering(bench: Bench, intervention: Intervention, placed: Placed) -> tuple[Edit, ...]:
    """All edits of an intervention that was placed in the free mode."""
    return (*prompt_edits(bench, placed), *later_edits(bench, intervention))


def prompt_edits(bench: Bench, placed: Placed) -> Iterator[Edit]:
    """What is put into the prompt's own positions."""
    for position, vector in placed.tokens.items():
        yield at("embed", positions=[position]).add(vector)
    for (layer, head, position), z in placed.heads.items():
        yield at(f"z.{layer}", heads=[head], positions=[position]).set(z)
    for (layer, neuron, position), value in placed.neurons.items():
        yield at(f"post.{layer}", neurons=[neuron], positions=[position]).set(value)
    for (layer, position), vector in placed.written.items():
        clean = bench.clean(Point.MLP_OUT, layer)[position]
        yield at(f"mlp_out.{layer}", positions=[position]).set(clean + vector)
    for (layer, position), several in placed.stream.items():
        for each in several:
            yield at(f"resid_post.{layer}", positions=[position]).apply(partial(_projected, each))


def later_edits(bench: Bench, intervention: Intervention) -> Iterator[Edit]:
    """What happens at every token behind the prompt, where the clean value is the one of that moment."""
    after = slice(bench.n_positions, None)
    for step in intervention.later:
        match step.part:
            case Feature(layer, index) if not isinstance(bench.basis, Neurons):
                yield from _feature(bench, step.part, step.change, after)
            case Feature(layer, index) | Neuron(layer, index):
                neurons = at(f"post.{layer}", positions=after, neurons=[index])
                yield neurons.apply(partial(_elementwise, step.change))
            case Head(layer, index):
                yield at(f"z.{layer}", positions=after, heads=[index]).apply(partial(_lengthwise, step.change))
            case Direction(layer, _, vector):
                unit = (vector / vector.square().sum().sqrt()).to(bench.frozen.embed)
                yield at(f"resid_post.{layer}", positions=after).apply(partial(_along, step.change, unit))
            case _:
                raise CallError(f"{step.part} is of the prompt and cannot be changed behind it.")


def _feature(bench: Bench, part: Feature, change: Change, after: slice) -> Iterator[Edit]:
    bench.check_feature(part.layer, part.index)
    encode = bench.encoder(part.layer)
    assert encode is not None, "a layer with features has an encoder"
    write = bench.write(part.layer, [part.index], 0, part.layer)[0]
    now: dict[str, Tensor] = {}

    def look(act: Tensor, site: Site, /) -> Tensor:
        now["x"] = act
        return act

    def push(act: Tensor, site: Site, /) -> Tensor:
        x = now.pop("x")
        clean = encode(x.flatten(0, 1))[:, part.index].view(*x.shape[:2], 1)
        return act + (_changed(change, clean) - clean) * write

    yield at(f"mlp_in.{part.layer}").apply(look)
    yield at(f"mlp_out.{part.layer}", positions=after).apply(push)


def _changed(change: Change, clean: Tensor) -> Tensor:
    match change.how:
        case "scale":
            return clean * change.value
        case "set":
            return torch.full_like(clean, change.value)
        case "add":
            return clean + change.value


def _elementwise(change: Change, act: Tensor, site: Site, /) -> Tensor:
    return _changed(change, act)


def _lengthwise(change: Change, act: Tensor, site: Site, /) -> Tensor:
    length = act.square().sum(-1, keepdim=True).sqrt()
    return act * (_changed(change, length) / length)


def _along(change: Change, unit: Tensor, act: Tensor, site: Site, /) -> Tensor:
    clean = (act @ unit)[..., None]
    return act + (_changed(change, clean) - clean) * unit


def _projected(each: Projected, act: Tensor, site: Site, /) -> Tensor:
    return act + (each.value - act @ each.unit)[..., None] * each.unit
