"""Interventions as values: what a change makes of a clean value, names, and what contradicts itself."""

import pytest
import torch

from micrographia.errors import CallError
from micrographia.evidence.interventions import (
    Change,
    Constrained,
    Direction,
    Error,
    Feature,
    Head,
    Intervention,
    Neuron,
    Step,
    Token,
    ablate,
    part_of,
)
from micrographia.graph.nodes import NodeId


@pytest.mark.parametrize(
    ("change", "new", "words"),
    [
        (Change("scale", 0.0), 0.0, "=x0"),
        (Change("scale", 2.0), 8.0, "=x2"),
        (Change("set", -1.5), -1.5, "=-1.5"),
        (Change("add", 3.0), 7.0, "=+3"),
        (Change("add", -3.0), 1.0, "=+-3"),
    ],
)
def test_a_change_is_a_multiple_an_absolute_value_or_a_sum(change: Change, new: float, words: str) -> None:
    assert change.new(4.0) == new
    assert str(change) == words


def test_every_part_has_a_name() -> None:
    parts = (Feature(25, 567, 14), Error(12, 5), Token(5), Neuron(12, 301, 5), Head(23, 4, 14))
    assert [*map(str, parts)] == ["25.567@14", "error.12@5", "token@5", "neuron.12.301@5", "head.23.4@14"]
    assert str(Direction(3, 4, torch.ones(2))) == "direction.3@4"
    assert str(ablate(["25.567@14", "error.12@5"])) == "25.567@14=x0, error.12@5=x0"


def test_features_errors_and_tokens_of_a_graph_can_be_changed_and_nothing_else() -> None:
    for name in ("25.567@14", "error.12@5", "token@5"):
        assert str(part_of(NodeId.parse(name))) == name
    for name in ("bias", "target.0"):
        with pytest.raises(CallError, match="cannot be changed: only features, errors"):
            part_of(NodeId.parse(name))


def test_what_contradicts_itself_is_refused() -> None:
    gone, doubled = Step(Feature(1, 2, 3), Change("set", 0.0)), Step(Feature(1, 2, 3), Change("scale", 2.0))
    with pytest.raises(CallError, match=r"1\.2@3 is changed twice"):
        Intervention((gone, doubled))
    with pytest.raises(CallError, match="nothing to change"):
        Intervention(())
    assert Intervention((), (gone,)).later == (gone,)


def test_a_range_of_layers_is_checked() -> None:
    assert Constrained().layers(4) == range(4)
    assert Constrained(1, 2).layers(4) == range(1, 3)
    for wrong in (Constrained(2, 1), Constrained(0, 4), Constrained(-1)):
        with pytest.raises(CallError, match="There are no layers"):
            wrong.layers(4)
