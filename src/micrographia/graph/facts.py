"""Where a trace comes from and what it took: filled in when it is done."""

import resource
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version

import torch

from micrographia.bases.basis import Decomposition
from micrographia.bases.named import ChosenBasis
from micrographia.bases.neurons import Neurons
from micrographia.graph.budget import Plan
from micrographia.graph.fingerprint import basis_fingerprint
from micrographia.graph.trace import TraceFacts
from micrographia.model.fingerprint import weights_fingerprint
from micrographia.model.model import Model

__all__ = ["Clock", "facts_of"]


@dataclass(frozen=True, slots=True)
class Clock:
    """When work began, on the wall and in CPU time."""

    wall: float
    cpu: float

    @staticmethod
    def started() -> "Clock":
        return Clock(time.perf_counter(), time.process_time())


def facts_of(
    model: Model,
    chosen: ChosenBasis,
    found: Decomposition,
    clock: Clock,
    *,
    selection: str,
    dtype: torch.dtype,
    n_rows: int,
    plan: Plan,
) -> TraceFacts:
    """What is known at the end of a trace."""
    basis = chosen.basis
    return TraceFacts(
        model=model.name,
        model_fingerprint=weights_fingerprint(model.weights),
        basis=type(basis).__name__,
        basis_fingerprint=basis_fingerprint(basis, found),
        gate_rule=basis.gate_rule if isinstance(basis, Neurons) and model.anatomy.gated else None,
        selection=selection,
        dtype=str(dtype).removeprefix("torch."),
        n_active=sum(len(layer.feature) for layer in found.layers),
        n_rows=n_rows,
        wall_seconds=time.perf_counter() - clock.wall,
        cpu_seconds=time.process_time() - clock.cpu,
        peak_bytes=_peak(),
        plan_bytes=plan.total,
        threads=torch.get_num_threads(),
        versions={"micrographia": version("micrographia"), "torch": version("torch")},
    )


def _peak() -> int:
    """The largest resident memory of this process so far: kilobytes on Linux, bytes on macOS."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024
