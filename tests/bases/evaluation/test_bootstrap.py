"""Intervals hold what they should as often as they say."""

import torch

from micrographia.bases.evaluation.bootstrap import Bootstrap, Estimate


def ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    return part / whole


def test_a_figure_of_totals_with_its_interval() -> None:
    part, whole = torch.tensor([1.0, 3.0, 2.0, 6.0]), torch.tensor([4.0, 4.0, 2.0, 6.0])
    found = Bootstrap(4, draws=500, seed=0).estimate(ratio, part, whole)
    assert found is not None
    assert found.value == 12 / 16
    assert found.low < found.value < found.high
    assert found.holds(0.75)
    assert not found.holds(0.1)


def test_documents_that_agree_leave_no_doubt() -> None:
    found = Bootstrap(5, draws=100, seed=0).estimate(ratio, 2 * torch.arange(1.0, 6), torch.arange(1.0, 6))
    assert found == Estimate(value=2.0, low=2.0, high=2.0)


def test_several_figures_come_in_their_order() -> None:
    sums = torch.tensor([[1.0, 10.0], [2.0, 20.0]])
    found = Bootstrap(2, draws=100, seed=0).estimates(lambda total: total, sums)
    assert [each.value for each in found if each] == [3.0, 30.0]


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Positions within a document resemble each other; the ratio of expectations is 0.5."""
    generator = torch.Generator().manual_seed(0)
    held, worlds = 0, 400
    for world in range(worlds):
        whole = torch.rand(40, generator=generator, dtype=torch.float64) * 30 + 1
        own = 0.5 + 0.2 * torch.randn(40, generator=generator, dtype=torch.float64)
        found = Bootstrap(40, draws=400, seed=world).estimate(ratio, own * whole, whole)
        assert found is not None
        held += found.holds(0.5)
    assert 0.90 <= held / worlds <= 0.98


def test_intervals_over_positions_would_be_too_narrow() -> None:
    """The control of the test above: the same worlds, as if every position stood for itself."""
    generator = torch.Generator().manual_seed(0)
    held, worlds = 0, 200
    for world in range(worlds):
        own = 0.5 + 0.2 * torch.randn(20, generator=generator, dtype=torch.float64)
        positions = own.repeat_interleave(20)
        found = Bootstrap(400, draws=200, seed=world).estimate(ratio, positions, torch.ones(400))
        assert found is not None
        held += found.holds(0.5)
    assert held / worlds < 0.6


def test_a_paired_difference_is_narrower_than_its_parts() -> None:
    generator = torch.Generator().manual_seed(1)
    hard = torch.randn(50, generator=generator)
    one, other = hard + 0.10, hard + 0.01 * torch.randn(50, generator=generator)
    draws = Bootstrap(50, draws=500, seed=0)
    apart = draws.estimate(lambda a, b, n: (a - b) / n, one, other, torch.ones(50))
    alone = draws.estimate(ratio, one, torch.ones(50))
    assert apart is not None
    assert alone is not None
    assert apart.high - apart.low < 0.05 * (alone.high - alone.low)
    assert apart.low > 0


def test_what_is_not_defined_is_nothing() -> None:
    assert Bootstrap(3, draws=100, seed=0).estimate(ratio, torch.zeros(3), torch.zeros(3)) is None
