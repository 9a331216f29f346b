"""How a side of a benchmark is asked and measures itself: in Python alone, because each has its own environment."""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

_ANSWERS = os.fdopen(os.dup(1), "w")


def silence() -> None:
    """Send whatever else is printed to stderr, so that only answers are read as answers."""
    os.dup2(2, 1)


def hear() -> dict:
    return json.loads(sys.stdin.readline() or '{"end": true}')


def answer(**found: object) -> None:
    print(json.dumps(found), file=_ANSWERS, flush=True)


def memory_mb(what: str = "VmHWM") -> float:
    """Of this process: what is resident (`VmRSS`), or was at most since it was forgotten (`VmHWM`).

    What getrusage says begins with the peak of the parent.
    """
    return int(Path("/proc/self/status").read_text().split(f"{what}:")[1].split()[0]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def cpu_of(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def wait_for(name: str, meanwhile: dict[str, Callable[[int], object]]) -> None:
    """Until `name` is asked for, do what else may be asked for, and say what it took."""
    request = hear()
    while also := meanwhile.keys() & request:
        (what,) = also
        answer(cpu=cpu_of(partial(meanwhile[what], request[what])))
        request = hear()
    if name not in request:
        sys.exit(f"asked for {request}")
