"""Tracing: one prompt's run, taken apart into the rows of every feature that matters.

The rows of the targets say how much each feature matters to them directly; features that matter get rows, through
which influence reaches others. When the rule has enough, the columns of features without a row are folded.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from micrographia.bases.basis import Decomposition
from micrographia.bases.named import BasisChoice, choose_basis
from micrographia.errors import CallError, WorkError
from micrographia.graph.adjoint import adjoint_of
from micrographia.graph.budget import Budget
from micrographia.graph.facts import Clock, facts_of
from micrographia.graph.select import Everything, PeerRanking, Reaching, Selection
from micrographia.graph.sweep import Sweeper
from micrographia.graph.targets import Continuation, Target, TargetRow, difference, following, resolve
from micrographia.graph.trace import Trace
from micrographia.graph.work import Table, Work, is_exact, narrowed, without_first
from micrographia.model.frozen import freeze
from micrographia.model.machine import DTYPES
from micrographia.model.model import Model
from micrographia.model.tokens import Prompt
from micrographia.store import Progress, silent

__all__ = ["DEFAULT_NODES", "DEFAULT_SHARE", "trace"]

DEFAULT_SHARE = 0.8
DEFAULT_NODES = 2048


def trace(
    model: Model,
    basis: BasisChoice,
    prompt: str | Prompt,
    *,
    target: Target = None,
    against: str | int | None = None,
    max_nodes: int | None = DEFAULT_NODES,
    share: float = DEFAULT_SHARE,
    selection: Selection | None = None,
    dtype: str | None = None,
    memory: int | None = None,
    progress: Progress = silent,
) -> Trace:
    """The rows of a target and of every feature that matters to it.

    `share` of the influence is followed to tokens, errors and the bias, through at most `max_nodes` features (None is
    no limit); `selection` is another rule instead. `dtype` is float32 or float64, by default the model's; with bfloat16
    features are ranked by rough rows, and the rows of those chosen are computed in float32. `memory` is the budget in
    bytes, by default most of what is free: what would need more is refused before it begins. `progress` is told how far
    it is.
    """
    clock = Clock.started()
    rule = selection or Reaching(share, max_nodes)
    chosen = choose_basis(model, basis)
    wanted = _against(target, against)
    tokens = _continued(model, model.prompt(prompt), wanted)
    number = _number(model, dtype)
    budget = Budget.of(memory, model.device)
    run = budget.check_run(model, len(tokens.ids))
    with torch.no_grad():
        found = chosen.basis.decompose(freeze(model, tokens))
        _check_finite(found)
        targets = resolve(wanted, found, model.tokenizer)
        plan = budget.check_rows(found, run, rule, number, len(targets))
        worked_on = without_first(found) if isinstance(rule, PeerRanking) else found
        limit = budget.limit - plan.beside_columns
        table = _worked(worked_on, targets, rule, number, plan.again, limit, progress)
    return Trace(
        prompt=tokens,
        targets=targets,
        nodes=table.nodes,
        row_node=table.row_node,
        rows=table.rows,
        folded=table.folded,
        folded_abs=table.folded_abs,
        pre=table.pre,
        facts=facts_of(
            model, chosen, found, clock, selection=str(rule), dtype=number, n_rows=len(table.row_node), plan=plan
        ),
    )


def _worked(
    found: Decomposition,
    targets: tuple[TargetRow, ...],
    rule: Selection,
    number: torch.dtype,
    again: bool,
    limit: int,
    progress: Progress,
) -> Table:
    """All rows. Where ranking does not need what they hold in the end, those of the chosen features are computed anew.

    With bfloat16 that is everywhere, and where memory is short. In an exact basis, which has all neurons at all
    positions, rows are so long that they are kept in bfloat16 while features are chosen; afterwards all others are one
    vector at each position.
    """
    exact = is_exact(found) and not isinstance(rule, Everything)
    single = torch.float32 if number == torch.bfloat16 else number
    if not again and not (exact and number != torch.float64):
        return _begun(found, targets, rule, single, lambda work: work.select(progress), limit=limit).table()
    ranked: list[Int[Tensor, " chosen"]] = []
    rough = _begun(
        found, targets, rule, number, lambda work: ranked.extend(work.select(progress)), torch.bfloat16, limit
    )
    if not exact:
        del rough
        return _begun(found, targets, rule, single, lambda work: work.compute(ranked), limit=limit).table()
    every = [torch.arange(len(some), device=some.device) for some in ranked]
    narrow = narrowed(found, ranked)
    before = rough.table()
    table = _begun(narrow, targets, rule, single, lambda work: work.compute(every), limit=limit).table()
    others = table.rows[:, table.nodes.errors].reshape(before.folded.shape)
    folded = torch.where(before.folded_abs > 0, others, 0.0)
    table.rows[:, table.nodes.errors] = 0
    return replace(before, rows=table.rows, folded=folded, folded_abs=torch.maximum(before.folded_abs, folded.abs()))


def _begun(
    found: Decomposition,
    targets: tuple[TargetRow, ...],
    rule: Selection,
    number: torch.dtype,
    choose: Callable[[Work], object],
    kept: torch.dtype | None = None,
    limit: int | None = None,
) -> Work:
    """Work whose features are chosen and whose rows are computed."""
    work = Work(found, targets, rule, Sweeper(adjoint_of(found, number)), kept=kept, limit=limit)
    choose(work)
    return work


def _against(target: Target, against: str | int | None) -> Target:
    if against is None:
        return target
    if not isinstance(target, (str, int)):
        raise CallError("Against another token stands one token: target=' French', against=' German'.")
    return difference(target, against)


def _continued(model: Model, prompt: Prompt, target: Target) -> Prompt:
    """With all of a continuation but its last token, so that each of its tokens is predicted."""
    if not isinstance(target, Continuation):
        return prompt
    return model.prompt(model.tokenizer.from_ids([*prompt.ids, *following(target, model.tokenizer)[:-1]]))


def _number(model: Model, dtype: str | None) -> torch.dtype:
    if dtype is None:
        return model.dtype
    if dtype not in DTYPES or dtype == "float16":
        raise CallError(f"Rows are computed in float32, float64 or bfloat16, not in {dtype!r}.")
    return DTYPES[dtype]


def _check_finite(found: Decomposition) -> None:
    """One number that is not finite makes a row of them."""
    for layer in found.layers:
        parts = (found.frozen.residuals[layer.layer + 1], layer.activation, layer.error)
        if not all(part is None or bool(torch.isfinite(part).all()) for part in parts):
            raise WorkError(
                f"Layer {layer.layer} holds numbers that are not finite on this prompt, so nothing can be attributed. "
                "Try dtype='float32' for the model, or look for damage in its weights or in the basis."
            )
