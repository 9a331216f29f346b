"""Random directions are made of all features, however long their rows are."""

import torch

from micrographia.labels.crowd import mixtures


def test_no_long_row_leads_in_a_mixture() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 64, generator=generator)
    rows[7] *= 1000
    rows[8] = 0
    mixed = mixtures(rows, 300, generator)
    cosines = torch.nn.functional.cosine_similarity(mixed, rows[7][None])
    assert mixed.shape == (300, 64)
    assert mixed.isfinite().all()
    assert cosines.abs().mean() < 0.2
