"""How much memory a trace would take, found before it begins; and the refusal when that is too much."""

from bisect import bisect_left
from dataclasses import dataclass

import torch

from micrographia.bases.basis import Decomposition
from micrographia.errors import CallError
from micrographia.graph.select import Downward, Everything, PeerRanking, Reaching, Selection
from micrographia.model.machine import free_memory
from micrographia.model.model import Model
from micrographia.store import readable_size

__all__ = ["Budget", "Plan", "run_bytes"]

_OF_FREE = 0.8


@dataclass(frozen=True, slots=True)
class Plan:
    """Bytes that a trace will hold at once, at most, beside the model and its basis."""

    run: int
    """The frozen run: patterns, residuals, the MLPs' factors."""
    sources: int
    """Every source's vector, and the folded map."""
    columns: int
    """Complete rows that wait for their columns to be chosen."""
    result: int
    """What is kept."""

    @property
    def total(self) -> int:
        return self.run + self.sources + self.columns + self.result

    def __str__(self) -> str:
        return (
            f"{readable_size(self.total)}: the run {readable_size(self.run)}, sources {readable_size(self.sources)}, "
            f"rows {readable_size(self.columns)}, result {readable_size(self.result)}"
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that may be used."""

    limit: int

    @staticmethod
    def of(memory: int | None, device: torch.device) -> "Budget":
        """What was said, or most of what is free."""
        if memory is not None and memory < 1:
            raise CallError(f"memory is a number of bytes, at least 1; not {memory}.")
        return Budget(int(_OF_FREE * free_memory(device)) if memory is None else memory)

    def check_run(self, model: Model, n_tokens: int) -> int:
        """Refuse a prompt whose frozen run alone would not fit."""
        needed = run_bytes(model, n_tokens)
        if needed > self.limit:
            raise CallError(
                f"A prompt of {n_tokens} tokens needs {readable_size(needed)} for its frozen run alone, and "
                f"{readable_size(self.limit)} may be used. Shorten it, or give more: memory=…"
            )
        return needed

    def check_rows(self, found: Decomposition, run: int, rule: Selection, dtype: torch.dtype) -> Plan:
        """The plan; refused if it does not fit, with the number of nodes that would."""
        wanted = _most_rows(found, rule)
        plan = _plan(found, run, rule, dtype, wanted)
        if plan.total <= self.limit:
            return plan
        fits = bisect_left(range(wanted), self.limit, key=lambda n: _plan(found, run, rule, dtype, n).total) - 1
        instead = f"max_nodes={fits} fits." if fits > 0 else "Not even one fits: shorten the prompt."
        raise CallError(
            f"Rows for {wanted} features would need {plan}. {readable_size(self.limit)} may be used. {instead}"
        )


def run_bytes(model: Model, n_tokens: int) -> int:
    """Bytes of a frozen run, its patterns once more in the folded map."""
    a = model.anatomy
    patterns = 2 * a.n_layers * a.n_heads * n_tokens**2
    hidden = a.n_layers * n_tokens * (3 * a.d_mlp + 3 * a.d_model)
    return model.dtype.itemsize * (patterns + hidden)


def _most_rows(found: Decomposition, rule: Selection) -> int:
    active = sum(len(layer.feature) for layer in found.layers)
    match rule:
        case Everything() | Downward():
            return active
        case Reaching() | PeerRanking():
            return active if rule.max_nodes is None else min(active, rule.max_nodes)


def _plan(found: Decomposition, run: int, rule: Selection, dtype: torch.dtype, n_rows: int) -> Plan:
    size = max(dtype.itemsize, 4)
    n_positions, d_model = found.frozen.embed.shape
    n_layers = len(found.layers)
    active = sum(len(layer.feature) for layer in found.layers)
    slots = sum(
        0 if layer.error is None else 2 + sum(_widest(found, to) for to in layer.writes) for layer in found.layers
    )
    # Downwards rows come, and columns go, layer by layer: at most a quarter is there at once.
    held = n_rows * active // 4 if isinstance(rule, Downward | Everything) else n_rows * active
    return Plan(
        run=run,
        sources=active * 32 + n_positions * slots * d_model * dtype.itemsize,
        columns=size * held,
        result=size * n_rows * (n_rows + 3 * n_layers * n_positions),
    )


def _widest(found: Decomposition, layer: int) -> int:
    position = found.layers[layer].position
    return int(torch.bincount(position).max()) if len(position) else 0
