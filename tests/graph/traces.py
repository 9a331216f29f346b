"""Small random traces: rows whose books balance, of features that read only what lies below them."""

import torch

from micrographia.graph.nodes import Nodes
from micrographia.graph.targets import Injection, TargetRow
from micrographia.graph.trace import Trace, TraceFacts
from micrographia.ids import TokenId
from micrographia.model.tokens import Prompt

__all__ = ["facts", "random_trace"]


def facts(**changes: object) -> TraceFacts:
    known = {
        "model": "tiny",
        "model_fingerprint": "ab" * 32,
        "basis": "PerLayer",
        "basis_fingerprint": "cd" * 32,
        "gate_rule": None,
        "selection": "all",
        "dtype": "float64",
        "n_active": 40,
        "n_rows": 18,
        "wall_seconds": 0.5,
        "cpu_seconds": 0.4,
        "peak_bytes": 1 << 28,
        "plan_bytes": 1 << 20,
        "threads": 1,
        "versions": {"torch": "2.13.0", "micrographia": "0.1.0"},
    }
    return TraceFacts(**{**known, **changes})


def random_trace(
    seed: int, *, n_layers: int = 4, per_layer: int = 4, n_positions: int = 3, n_targets: int = 2, capped: bool = True
) -> Trace:
    """`capped`: beside the features with rows there are others, whose parts are only in `folded`."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    n_features = n_layers * per_layer
    layer = torch.arange(n_layers).repeat_interleave(per_layer)
    position = torch.randint(n_positions, (n_features,), generator=generator)
    position = torch.cat([at.sort().values for at in position.split(per_layer)])
    last = torch.full((n_targets,), n_positions - 1)
    nodes = Nodes.of(
        (layer, position, torch.arange(n_features)),
        draw(n_features).abs(),
        draw(n_layers, n_positions).abs(),
        torch.arange(100, 100 + n_positions),
        draw(n_positions).abs(),
        draw(n_targets),
        last,
    )
    row_node = torch.cat([torch.arange(n_features), torch.arange(nodes.targets.start, nodes.targets.stop)])
    row_layer = torch.cat([layer, torch.full((n_targets,), n_layers)])
    row_position = nodes.position[row_node]
    below = (nodes.layer < row_layer[:, None]) & (nodes.position <= row_position[:, None])
    below[:, nodes.targets] = False
    rows = draw(len(row_node), len(nodes)) * below * (torch.rand(below.shape, generator=generator) > 0.3)
    rows[:, nodes.tokens.start] = draw(len(row_node))  # no row is without inputs
    under = (torch.arange(n_layers)[:, None] < row_layer[:, None, None]) & (
        torch.arange(n_positions) <= row_position[:, None, None]
    )
    folded = 0.3 * draw(len(row_node), n_layers, n_positions) * under * capped
    weights = torch.rand(n_targets, generator=generator, dtype=torch.float64)
    weights = weights / weights.sum()
    targets = tuple(
        TargetRow(f"␣t{i}", (Injection(n_layers, n_positions - 1, draw(5)),), 0.0, 1.0, w, 0.9 * w, TokenId(7 + i))
        for i, w in enumerate(weights.tolist())
    )
    ids = tuple(TokenId(i) for i in range(100, 100 + n_positions))
    return Trace(
        prompt=Prompt(ids, tuple(f"␣p{i}" for i in ids), "some text", 1),
        targets=targets,
        nodes=nodes,
        row_node=row_node,
        rows=rows,
        folded=folded,
        folded_abs=folded.abs() * (1 + torch.rand(folded.shape, generator=generator, dtype=torch.float64)),
        pre=rows.sum(1) + folded.sum((1, 2)),
        facts=facts(n_active=n_features + 24 * capped, n_rows=len(row_node)),
    )
