"""Two sides of a benchmark, each in a process of its own, asked in turn and timed by themselves.

Both get one thread, no spinning OpenMP workers, and a C allocator that keeps freed memory instead of returning it
to the system: sparsify gains most by it (its step makes 150 MB of temporaries), so it belongs to its best settings.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal, TypeAlias

from tests.interop.environments import environment

__all__ = ["Peer", "Side", "fit"]

Side: TypeAlias = Literal["sparsify", "ours", "circuit-tracer", "our attribution", "delphi", "our atlas"]

HERE = Path(__file__).parent
SCRIPTS: dict[Side, tuple[str | None, Path]] = {
    "sparsify": ("sparsify", HERE / "sparsify_training.py"),
    "ours": (None, HERE / "our_training.py"),
    "circuit-tracer": ("attribution", HERE.parents[1] / "tests" / "interop" / "peers" / "attribution.py"),
    "our attribution": (None, HERE / "our_attribution.py"),
    "delphi": ("delphi", HERE / "delphi_cache.py"),
    "our atlas": (None, HERE / "our_atlas.py"),
}
"""The environment of a side, None being the one that runs this, and what runs in it."""
THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
KEEPING = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 33),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


def _command(side: Side, *arguments: str) -> list[str]:
    name, script = SCRIPTS[side]
    python = sys.executable if name is None else str(environment(name))
    return [python, "-W", "ignore", str(script), *arguments]


def _environment(keeping: bool) -> dict[str, str]:
    alone = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MALLOC_"))}
    return alone | THREAD | (KEEPING if keeping else {}) | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


class Peer:
    """A process that makes one thing and times its steps; a request is a line of JSON, and so is the answer."""

    def __init__(self, side: Side, *, keeping: bool = True, **make: object) -> None:
        self.process = subprocess.Popen(
            _command(side, "steps"),
            env=_environment(keeping),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.made = self.ask(**make)
        self.before_mb = self.made["before_mb"]

    def ask(self, **request: object) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()} when asked for {request}")
        return json.loads(answer)

    def close(self) -> None:
        """End it as it is: what it trains is not kept."""
        self.process.kill()
        self.process.wait()


def fit(side: Side, plan: dict[str, object], plan_file: Path) -> dict[str, float]:
    """Let a side's trainer follow a plan; its report."""
    plan_file.write_text(json.dumps(plan, indent=1))
    done = subprocess.run(
        _command(side, "fit", str(plan_file)), env=_environment(True), check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])
