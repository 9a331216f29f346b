"""What a benchmark says of the machine it ran on."""

import platform
from pathlib import Path

__all__ = ["processor"]


def processor() -> str:
    """Its name, family and model, as Linux tells them: names alone may hide which one it is."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    return ",".join(f"{key}{facts.get(key, ' unknown')}" for key in ("model name", "cpu family", "model"))
