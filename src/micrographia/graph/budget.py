"""How much memory a trace would take, found before it begins; and the refusal when that is too much."""

from bisect import bisect_left
from dataclasses import dataclass, replace

import torch

from micrographia.bases.basis import Decomposition
from micrographia.errors import BudgetError, CallError
from micrographia.graph.select import Downward, Everything, PeerRanking, Reaching, Selection
from micrographia.graph.work import is_exact
from micrographia.graph.writers import layout_of
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
    again: bool = False
    """Rows only rank features, in bfloat16, and are given back; those of the chosen ones are computed anew."""

    @property
    def total(self) -> int:
        return self.run + self.sources + (max(self.columns, self.result) if self.again else self.columns + self.result)

    @property
    def beside_columns(self) -> int:
        """What there is while rows wait."""
        return self.run + self.sources + (0 if self.again else self.result)

    def __str__(self) -> str:
        return (
            f"{readable_size(self.total)}: the run {readable_size(self.run)}, sources {readable_size(self.sources)}, "
            f"rows {readable_size(self.columns)}, result {readable_size(self.result)}"
            f"{', one after the other' if self.again else ''}"
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
            raise BudgetError.of(
                f"A prompt of {n_tokens} tokens needs {readable_size(needed)} for its frozen run alone, and "
                f"{readable_size(self.limit)} may be used.",
                None,
            )
        return needed

    def check_rows(self, found: Decomposition, run: int, rule: Selection, dtype: torch.dtype, n_targets: int) -> Plan:
        """The plan; refused if it does not fit, with the number of nodes that would.

        Where rows do not fit as they are, they rank features in half of the memory, and are computed twice.
        """
        wanted, ranks = _most_rows(found, rule), not isinstance(rule, Everything)
        sizes = _Sizes.of(found, run, rule, dtype, n_targets)
        plan = sizes.plan(wanted)
        if ranks and not is_exact(found) and (dtype == torch.bfloat16 or plan.total > self.limit):
            half = sizes.again()
            if dtype == torch.bfloat16 or half.plan(wanted).total < plan.total:
                sizes, plan = half, half.plan(wanted)
        if plan.total <= self.limit:
            return plan
        fits = bisect_left(range(wanted), self.limit, key=lambda n: sizes.plan(n).total) - 1
        raise BudgetError.of(
            f"Rows for {wanted} features would need {plan}. {readable_size(self.limit)} may be used.", max(fits, 0)
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


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What a plan is made of."""

    number: int
    run: int
    sources: int
    row: int
    """A row's columns, all layers together."""
    beside: int
    """What a row has beside them in the end."""
    held: float
    """The part of all rows' columns that is there at once."""
    n_targets: int
    twice: bool = False

    @staticmethod
    def of(found: Decomposition, run: int, rule: Selection, dtype: torch.dtype, n_targets: int) -> "_Sizes":
        size = max(dtype.itemsize, 4)
        n_positions, d_model = found.frozen.embed.shape
        layers = found.layers
        widths = [layout_of(found, layer).width for layer in range(len(layers))]
        vectors = sum(
            width * max(1, len(one.writes)) for width, one in zip(widths, layers, strict=True) if one.error is not None
        )
        # Features lie in all layers and read only what is below them. Where rows come, and columns go, layer by layer,
        # half of that again is there at once.
        rough = is_exact(found) and dtype != torch.float64 and not isinstance(rule, Everything)
        held = 0.25 if isinstance(rule, Downward | Everything) else 0.5
        return _Sizes(
            number=size,
            run=run,
            sources=sum(len(one.feature) for one in layers) * 32 + vectors * d_model * size,
            row=(2 if rough else size) * sum(widths),
            beside=size * 3 * len(layers) * n_positions,
            held=held,
            n_targets=n_targets,
        )

    def again(self) -> "_Sizes":
        """With rows in bfloat16, which only rank. The result is there twice while it is put in order."""
        return replace(self, row=self.row * 2 // self.number, twice=True)

    def plan(self, n_features: int) -> Plan:
        n_rows = n_features + self.n_targets
        result = n_rows * (self.number * n_rows + self.beside)
        return Plan(
            run=self.run,
            sources=self.sources,
            columns=int(self.row * (self.held * n_features + self.n_targets)),
            result=2 * result if self.twice else result,
            again=self.twice,
        )
