"""The books in words say all that the ledger says, and add up."""

from dataclasses import fields, replace

import pytest

from micrographia.graph.ledger import Ends, Ledger
from micrographia.report.books import counted, entries, held, judged, work
from tests.graph.graphs import small_graph
from tests.graph.traces import facts


def ledger(seed: int = 0) -> Ledger:
    found = small_graph(seed).ledger
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(5))
def test_entries_are_all_parts_of_the_ledger_and_add_up_to_1(seed: int) -> None:
    found = ledger(seed)
    told = {entry.name: entry.share for entry in entries(found)}
    assert sum(told.values()) == pytest.approx(1.0, abs=1e-6)
    for field in fields(Ends):
        assert told.get(field.name, 0.0) == getattr(found.ends, field.name), field.name


def test_only_what_reaches_tokens_or_the_bias_counts_as_shown() -> None:
    states = {entry.name: entry.state for entry in entries(ledger())}
    assert {name for name, state in states.items() if state == "shown"} <= {"tokens", "bias"}
    assert states["errors"] == "unexplained"
    assert {states[name] for name in ("folded", "pruned") if name in states} == {"left out"}


def test_counts_are_differences_of_the_ledgers_counts() -> None:
    found = ledger()
    c = found.counts
    words = {entry.name: entry.words for entry in entries(found)}
    assert f"{c.active_features - c.traced_features:,} active features" in words["folded"]
    assert f"{c.shown_features} features of {c.active_features} active" in counted(found)


def test_neurons_are_said_to_be_exact() -> None:
    exact = {entry.name: entry.words for entry in entries(ledger(), facts(basis="Neurons"))}
    assert exact["errors"] == "nothing: neurons are exact"


def test_what_no_share_counts_is_said() -> None:
    found = ledger()
    assert any("Attention patterns" in line for line in held(found))
    assert any("skip paths" in line for line in held(replace(found, through_skips=None)))
    assert not any("skip paths" in line for line in held(replace(found, through_skips=0.0)))


def test_every_reading_of_the_scores_is_named_and_the_honest_ones_come_first() -> None:
    graph = small_graph()
    assert graph.scores is not None
    readings = [(each.reading, each.replacement, each.completeness) for each in judged(graph)]
    s = graph.scores
    assert readings == [
        ("shown", s.shown.replacement, s.shown.completeness),
        ("traced", s.trace.replacement, s.trace.completeness),
        ("as circuit-tracer counts", s.peer.replacement, s.peer.completeness),
    ]
    assert judged(replace(graph, scores=None)) == ()


def test_work_is_told_with_its_time_and_memory() -> None:
    assert work(facts()) == "18 rows in 0.5 s (0.4 s of CPU, 1 thread), float64, at most 268 MB of memory; all"
