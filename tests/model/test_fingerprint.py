"""A fingerprint tells models apart, and not the precision in which they are held."""

import torch

from micrographia.model.fingerprint import fingerprint, weights_fingerprint


def test_models_differ(tiny) -> None:
    llama, qwen = tiny("llama").weights, tiny("qwen3").weights
    assert weights_fingerprint(llama) == weights_fingerprint(llama) != weights_fingerprint(qwen)


def test_precision_does_not_matter_and_shape_and_kind_do() -> None:
    rows = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    same = {fingerprint("rows", [rows.to(dtype)]) for dtype in (torch.bfloat16, torch.float32, torch.float64)}
    assert len(same) == 1
    others = {fingerprint("columns", [rows]), fingerprint("rows", [rows.T]), fingerprint("rows", [-rows])}
    assert len(others | same) == 4
