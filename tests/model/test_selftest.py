"""The examination can fail: each of its findings is made to."""

import importlib.metadata
from collections.abc import Iterable

import pytest
import torch

from micrographia.errors import CacheError
from micrographia.microscope import Microscope
from micrographia.model import embedded, selftest
from micrographia.model.machine import Speed
from micrographia.model.selftest import Finding, examine


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, smollm2: Microscope) -> None:
    """The embedded model is opened once, and nothing is measured."""
    monkeypatch.setattr(selftest, "matmul_speed", lambda dtype, device: Speed(dtype, 50.0, 1e-7))
    monkeypatch.setattr(selftest, "load_model", lambda **_: smollm2.model)
    monkeypatch.setattr(selftest.locate(None).__class__, "verify", lambda checkpoint, progress: None)


def failed(findings: Iterable[Finding]) -> dict[str, str]:
    return {finding.name: finding.detail for finding in findings if finding.state == "failed"}


def test_here_nothing_fails_and_everything_is_in_its_area() -> None:
    findings = examine()
    assert failed(findings) == {}
    assert [area for area in dict.fromkeys(f.area for f in findings)] == ["Installed", "Machine", "Self-test"]
    assert len({(f.area, f.name) for f in findings}) == len(findings)
    names = {f.name for f in findings}
    assert {"torch", "embedded model", "processor", "memory", "devices", "cache", "forward on cpu"} <= names
    assert "bfloat16 saves memory, not time" in next(f.detail for f in findings if f.name == "speed on cpu")


def test_a_package_that_is_missing_fails_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "gguf":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert failed(examine()) == {"gguf": "missing: pip install gguf"}


def test_wrong_arithmetic_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = selftest.forward

    def slightly_wrong(weights, *args, **kwargs):
        logits = real(weights, *args, **kwargs)
        return logits if weights.embed.dtype == torch.float64 else logits * 1.001

    monkeypatch.setattr(selftest, "forward", slightly_wrong)
    assert failed(examine()) == {"forward on cpu": "a random model against float64: relative error 1e-03"}


def test_another_answer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "ANSWER", " German")
    found = failed(examine())
    assert list(found) == ["embedded model"]
    assert found["embedded model"].startswith("answers ␣French with 0.96")


def test_books_that_do_not_balance_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "_imbalance", lambda model: 2e-3)
    assert failed(examine())["embedded model"].endswith("the parts of its residual add up to 2e-03")


def test_a_damaged_cache_is_found_and_does_not_end_the_examination(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise CacheError("x is damaged.")

    monkeypatch.setattr(selftest, "locate", broken)
    monkeypatch.setattr(selftest, "load_model", broken)
    assert failed(examine()) == {"embedded files": "x is damaged.", "embedded model": "x is damaged."}


def test_without_the_embedded_model_its_tests_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "is_installed", lambda: False)
    findings = examine()
    assert failed(findings) == {}
    assert [f.name for f in findings if f.area == "Self-test"] == ["forward on cpu"]
    assert next(f for f in findings if f.name == "embedded model").state == "missing"
