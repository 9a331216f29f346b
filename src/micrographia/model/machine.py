"""What this machine can do, and what follows for a model: device, dtype. Found by looking, never assumed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import psutil
import torch

from micrographia.errors import UnsupportedError

__all__ = [
    "DTYPES",
    "Speed",
    "available_devices",
    "choose_device",
    "choose_dtype",
    "free_memory",
    "matmul_speed",
]

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64, "float16": torch.float16}
)


def available_devices() -> tuple[str, ...]:
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return tuple(devices)


def choose_device(wanted: str | None) -> torch.device:
    """The device asked for, or the first of cuda, mps, cpu that this machine has."""
    there = available_devices()
    if wanted is None:
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if name in there))
    if wanted not in there:
        raise UnsupportedError(f"There is no device {wanted!r} here; there is: {', '.join(there)}.")
    return torch.device(wanted)


def choose_dtype(wanted: str | None, device: torch.device, n_parameters: int) -> torch.dtype:
    """The dtype asked for; else float32 where the weights fit twice into free memory, bfloat16 where they do not.

    float32 is the default because attribution is exact arithmetic on small numbers; bfloat16 is a concession to size.
    """
    if wanted is None:
        return torch.float32 if 2 * 4 * n_parameters < free_memory(device) else torch.bfloat16
    if wanted not in DTYPES:
        raise UnsupportedError(f"There is no dtype {wanted!r}; write one of: {', '.join(DTYPES)}.")
    if wanted == "float64" and device.type == "mps":
        raise UnsupportedError("Apple's GPU has no float64. Use --dtype float32, or --device cpu.")
    return DTYPES[wanted]


def free_memory(device: torch.device) -> int:
    """Bytes that a model may still take on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return psutil.virtual_memory().available


@dataclass(frozen=True, slots=True)
class Speed:
    """Matrix products of one dtype on one device."""

    dtype: torch.dtype
    gflops: float
    error: float
    """Largest relative error against float64."""


def matmul_speed(dtype: torch.dtype, device: torch.device, *, size: int = 1024, seconds: float = 0.2) -> Speed:
    """Multiply square matrices for a while: how fast, and how exactly."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    left, right = a.to(device, dtype), b.to(device, dtype)
    error = float(((left @ right).double().cpu() - exact).abs().max() / exact.abs().max())
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        torch.matmul(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        done += 1
    return Speed(dtype, done * 2 * size**3 / elapsed / 1e9, error)
