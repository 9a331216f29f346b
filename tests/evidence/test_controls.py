"""Controls: as long a step, at the same places, along features that the graph does not show."""

import pytest
import torch

from micrographia.evidence.bench import Bench
from micrographia.evidence.controls import Controls
from micrographia.graph.nodes import NodeId
from tests.evidence.planted import planted
from tests.evidence.test_rows import bench_of


def active_at(bench: Bench, layer: int, position: int) -> list[NodeId]:
    indices = bench.active(layer)[position].nonzero()[:, 0].tolist()
    return [NodeId.parse(f"{layer}.{index}@{position}") for index in indices]


def along(bench: Bench, layer: int, position: int, vector: torch.Tensor) -> int:
    """The feature that a step lies along."""
    writes = bench.write(layer, list(range(bench.n_features(layer))), position, layer)
    return int(torch.cosine_similarity(writes, vector[None]).abs().argmax())


@pytest.mark.parametrize("basis", ["neurons", "per-layer"])
def test_each_control_is_a_step_of_the_claims_length_along_another_feature(tiny, basis: str) -> None:
    bench = bench_of(tiny("llama"), basis)
    shown = active_at(bench, 1, 4)[:3]
    controls = Controls(bench, shown[:1], shown=shown)
    step = controls.step().written[1, 4]
    drawn = [controls.placed(number).written for number in range(len(controls))]
    assert all(set(written) == {(1, 4)} for written in drawn)
    assert all(float(one[1, 4].norm() / step.norm()) == pytest.approx(1.0) for one in drawn)
    features = [along(bench, 1, 4, one[1, 4]) for one in drawn]
    assert len(set(features)) == len(drawn) >= 20
    assert not set(features) & {node.index for node in shown}


def test_active_features_come_first_and_silent_ones_fill_up(tiny) -> None:
    bench = bench_of(tiny("llama"))
    here = active_at(bench, 1, 4)
    controls = Controls(bench, here[:1])
    drawn = [along(bench, 1, 4, controls.placed(number).written[1, 4]) for number in range(len(controls))]
    others = {node.index for node in here[1:]}
    assert set(drawn[: len(others)]) == others
    assert len(drawn) == bench.n_features(1) - 1


def test_a_control_of_several_features_takes_as_many_at_each_place(tiny) -> None:
    bench = bench_of(tiny("llama"), "neurons")
    members = [*active_at(bench, 0, 2)[:1], *active_at(bench, 1, 4)[:2]]
    controls = Controls(bench, members)
    step = controls.step().written
    for number in (0, 7, 198):
        written = controls.placed(number).written
        assert set(written) == {(0, 2), (1, 4)}
        for place, vector in step.items():
            assert float(written[place].norm() / vector.norm()) == pytest.approx(1.0)
            assert abs(float(torch.cosine_similarity(written[place], vector, 0))) < 0.99
    assert len(controls) == 199


def test_the_same_seed_gives_the_same_controls_and_another_seed_others(tiny) -> None:
    bench = bench_of(tiny("llama"), "neurons")
    members = active_at(bench, 1, 4)[:2]
    first, again, other = (Controls(bench, members, seed=seed).placed(3).written[1, 4] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_nearest_in_what_they_write_are_taken_and_density_counts_where_it_is_known(tiny) -> None:
    """Of 120 neurons at a place, a hundred; a density that is far off puts a near one out."""
    bench = planted(tiny("llama"), 0).bench
    [member] = active_at(bench, 0, 4)[:1]
    sizes = bench.active(0)[4].abs() * bench.write(0, list(range(120)), 4, 0).norm(dim=1)
    far = (sizes.log() - sizes[member.index].log()).abs()
    far[member.index] = torch.inf
    wanted = set(far.argsort()[:100].tolist())

    def drawn(controls: Controls) -> set[int]:
        return {along(bench, 0, 4, controls.placed(number).written[0, 4]) for number in range(len(controls))}

    assert drawn(Controls(bench, [member], nearest=100)) == wanted
    nearest = int(far.argmin())
    density = torch.ones(120, dtype=torch.float64)
    density[nearest] = 1e-9
    assert nearest not in drawn(Controls(bench, [member], nearest=100, densities={0: density}))
