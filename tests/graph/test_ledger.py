"""The ledger: its parts add up to 1, and each is what following the unit by hand gives."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.graph.ledger import balance
from micrographia.graph.nodes import Kind
from micrographia.graph.prune import prune
from tests.graph.traces import random_trace

shares = st.floats(0.0, 1.0)


@settings(max_examples=40)
@given(st.integers(0, 10_000), shares, shares, st.booleans())
def test_the_parts_add_up_to_1(seed: int, node_share: float, edge_share: float, capped: bool) -> None:
    trace = random_trace(seed, capped=capped)
    found = balance(trace, prune(trace, node_share, edge_share))
    parts = found.ends
    assert parts.total() == pytest.approx(1, abs=1e-12)
    assert min(parts.tokens, parts.bias, parts.errors, parts.folded, parts.pruned, parts.hidden, parts.nowhere) > -1e-12
    assert 0 <= found.at_position_0 <= 1
    assert 0 <= found.shown_influence <= 1 + 1e-12
    assert capped or parts.folded == pytest.approx(0, abs=1e-12)


@settings(max_examples=10)
@given(st.integers(0, 10_000), shares, shares)
def test_each_part_is_what_following_the_unit_gives(seed: int, node_share: float, edge_share: float) -> None:
    trace = random_trace(seed)
    n, pruning = trace.nodes, prune(trace, node_share, edge_share)
    shown = set(zip(pruning.target.tolist(), pruning.source.tolist(), strict=True))
    ends = dict.fromkeys(("tokens", "bias", "errors", "folded", "pruned", "hidden"), 0.0)
    at_0 = 0.0
    todo = [(n.n_features + i, target.weight) for i, target in enumerate(trace.targets)]
    for row, weight in todo:
        complete = float(trace.rows[row].abs().sum() + trace.folded[row].abs().sum())
        if not complete:
            continue
        for place, size in enumerate(trace.folded[row].abs().flatten().tolist()):
            ends["folded"] += weight * size / complete
            at_0 += weight * size / complete * (place % n.n_positions == 0)
        for node in trace.rows[row].nonzero()[:, 0].tolist():
            part = weight * abs(float(trace.rows[row, node])) / complete
            kind = Kind(int(n.kind[node]))
            if kind is Kind.FEATURE and (row, node) in shown:
                todo.append((node, part))
                continue
            at_0 += part * (int(n.position[node]) == 0)
            if kind is Kind.ERROR:
                ends["errors"] += part
            elif kind is Kind.FEATURE and not pruning.nodes[node]:
                ends["pruned"] += part
            elif (row, node) not in shown:
                ends["hidden"] += part
            else:
                ends["tokens" if kind is Kind.TOKEN else "bias"] += part
    found = balance(trace, pruning)
    for name, part in ends.items():
        assert getattr(found.ends, name) == pytest.approx(part, abs=1e-10), name
    assert found.at_position_0 == pytest.approx(at_0, abs=1e-10)


def test_the_gross_figure_counts_every_feature_by_itself() -> None:
    trace = random_trace(3)
    pruning = prune(trace)
    net, found = balance(trace, pruning).ends.folded, balance(trace, pruning).gross_folded
    assert found > net
    signed = replace(trace, folded_abs=trace.folded.abs())
    assert balance(signed, pruning).gross_folded == pytest.approx(net)
    assert balance(signed, pruning).ends == balance(trace, pruning).ends


def test_a_row_without_inputs_leads_nowhere() -> None:
    trace = random_trace(1, capped=False)
    rows = torch.zeros_like(trace.rows)
    found = balance(silent := replace(trace, rows=rows, pre=rows.sum(1)), prune(silent))
    assert found.ends.nowhere == pytest.approx(1)


def test_it_counts_every_stage() -> None:
    trace = random_trace(2)
    pruning = prune(trace, 0.6, 0.8)
    counts = balance(trace, pruning).counts
    assert (counts.active_features, counts.traced_features) == (40, 16)
    assert counts.shown_features == int(pruning.nodes[:16].sum()) < 16
    assert counts.shown_edges == len(pruning.source) < counts.candidate_edges < counts.edges
    assert counts.shown_errors <= counts.errors <= 12


def test_skips_that_nobody_measured_are_not_zero() -> None:
    trace = random_trace(0)
    assert balance(trace, prune(trace), has_skips=True).through_skips is None
    assert balance(trace, prune(trace)).through_skips == 0
