"""Device and dtype: what is asked for if it is there, else what this machine can do."""

import pytest
import torch

from micrographia.errors import UnsupportedError
from micrographia.model import machine
from micrographia.model.machine import (
    DTYPES,
    available_devices,
    choose_device,
    choose_dtype,
    free_memory,
    matmul_speed,
)

CPU = torch.device("cpu")


def test_what_is_said_to_be_there_is_there() -> None:
    there = available_devices()
    assert there[0] == "cpu"
    for name in there:
        assert torch.ones(2, device=name).sum().item() == 2
    assert ("cuda" in there) == torch.cuda.is_available()


@pytest.mark.parametrize(
    ("there", "best"),
    [
        (("cpu",), "cpu"),
        (("cpu", "mps"), "mps"),
        (("cpu", "cuda", "cuda:0", "cuda:1"), "cuda"),
        (("cpu", "cuda", "cuda:0", "mps"), "cuda"),
    ],
)
def test_without_a_wish_the_best_device_is_taken(
    monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], best: str
) -> None:
    monkeypatch.setattr(machine, "available_devices", lambda: there)
    assert choose_device(None) == torch.device(best)
    for name in there:
        assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["cuda:7", "tpu", "", "CPU", "meta"])
def test_a_device_that_is_not_there_is_answered_with_those_that_are(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(machine, "available_devices", lambda: ("cpu", "cuda", "cuda:0"))
    with pytest.raises(UnsupportedError) as caught:
        choose_device(name)
    assert str(caught.value) == f"There is no device {name!r} here; there is: cpu, cuda, cuda:0."


def test_float32_is_taken_where_the_weights_fit_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda device: 8_000_000)
    assert choose_dtype(None, CPU, 999_999) == torch.float32
    assert choose_dtype(None, CPU, 1_000_000) == torch.bfloat16
    assert choose_dtype("float32", CPU, 10**12) == torch.float32, "a wish is a wish"


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_is_torchs_of_that_name(name: str) -> None:
    assert choose_dtype(name, CPU, 1) == getattr(torch, name)


def test_a_dtype_that_there_is_not_is_answered_with_those_there_are() -> None:
    for name in ("int8", "torch.float32", "Float32", ""):
        with pytest.raises(UnsupportedError, match=f"no dtype '{name}'; write one of: float32, bfloat16, float64"):
            choose_dtype(name, CPU, 1)
    with pytest.raises(UnsupportedError, match=r"no float64\. Use --dtype float32, or --device cpu"):
        choose_dtype("float64", torch.device("mps"), 1)


def test_free_memory_is_some_and_not_more_than_there_is() -> None:
    import psutil

    assert 0 < free_memory(CPU) <= psutil.virtual_memory().total


def test_speed_is_measured_and_so_is_the_error() -> None:
    plain = matmul_speed(torch.float32, CPU, size=64, seconds=0.01)
    short = matmul_speed(torch.bfloat16, CPU, size=64, seconds=0.01)
    exact = matmul_speed(torch.float64, CPU, size=64, seconds=0.01)
    assert min(plain.gflops, short.gflops, exact.gflops) > 0
    assert exact.error < plain.error < 1e-5 < short.error < 1e-1
    assert short.dtype == torch.bfloat16
