"""Nodes lie in one order and go by names that can be read back."""

import pytest
import torch

from micrographia.errors import CallError
from micrographia.graph.nodes import Kind, NodeId, Nodes


def nodes() -> Nodes:
    return Nodes.of(
        (torch.tensor([0, 1]), torch.tensor([2, 0]), torch.tensor([7, 301])),
        torch.tensor([0.5, 2.0]),
        torch.ones(2, 3),
        torch.tensor([4, 5, 6]),
        torch.ones(3),
        torch.tensor([1.0]),
        torch.tensor([2]),
    )


def test_the_order_is_features_errors_tokens_bias_targets() -> None:
    table = nodes()
    assert [str(one) for one in table] == [
        "0.7@2", "1.301@0",
        "error.0@0", "error.0@1", "error.0@2", "error.1@0", "error.1@1", "error.1@2",
        "token@0", "token@1", "token@2", "bias", "target.0",
    ]  # fmt: skip
    assert (table.kind.diff() >= 0).all()
    for part, kind in (
        (table.features, Kind.FEATURE),
        (table.errors, Kind.ERROR),
        (table.tokens, Kind.TOKEN),
        (table.targets, Kind.TARGET),
    ):
        assert (table.kind[part] == kind).all()
        assert (table.kind == kind).sum() == part.stop - part.start
    assert table.kind[table.bias] == Kind.BIAS


def test_a_name_leads_back_to_its_node() -> None:
    table = nodes()
    for number, name in enumerate(table):
        assert table.find(str(name)) == table.find(name) == number
        assert NodeId.parse(str(name)) == name


@pytest.mark.parametrize("name", ["", "12.301", "12.301@", "-1.3@2", "token", "bias@1", "target.x", "1.2@3 "])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(CallError, match="names no node"):
        NodeId.parse(name)


def test_a_feature_without_a_node_is_not_found() -> None:
    with pytest.raises(CallError, match=r"There is no node 0\.8@2"):
        nodes().find("0.8@2")
