"""The books of a graph in words: where all influence ends, what is not shown, and how good the whole is."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from micrographia.graph.graph import Graph
from micrographia.graph.ledger import Ledger
from micrographia.graph.trace import TraceFacts
from micrographia.report.outline import NEURONS
from micrographia.report.words import joined, percent, shortened
from micrographia.store import readable_size

__all__ = ["Entry", "Judged", "State", "counted", "entries", "held", "judged", "work"]

State: TypeAlias = Literal["shown", "unexplained", "left out"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One part of the unit of influence that starts at the answer; all entries add up to 1."""

    name: str
    share: float
    state: State
    words: str


@dataclass(frozen=True, slots=True)
class Judged:
    """Both scores in one reading, and what the reading counts."""

    reading: str
    replacement: float
    completeness: float
    words: str


def entries(ledger: Ledger, facts: TraceFacts | None = None) -> tuple[Entry, ...]:
    """Where one unit of influence ends that goes down from the answer."""
    ends, counts = ledger.ends, ledger.counts
    bare = counts.active_features - counts.traced_features
    pruned = counts.traced_features - counts.shown_features
    hidden = counts.edges - counts.shown_edges
    exact = facts is not None and facts.basis == NEURONS
    found = (
        Entry("tokens", ends.tokens, "shown", "reaches a token by edges that are shown"),
        Entry("bias", ends.bias, "shown", "is constant, whatever the prompt"),
        Entry(
            "errors",
            ends.errors,
            "unexplained",
            "nothing: neurons are exact" if exact else "is in what the basis does not reproduce of the MLPs",
        ),
        Entry("folded", ends.folded, "left out", f"is in {joined(bare, 'active feature')} that were not traced"),
        Entry("pruned", ends.pruned, "left out", f"is in {joined(pruned, 'traced feature')} that are not shown"),
        Entry("hidden", ends.hidden, "left out", f"is on some of {joined(hidden, 'edge')} that are not shown"),
        Entry("nowhere", ends.nowhere, "left out", "is in rows without any input"),
    )
    return tuple(entry for entry in found if entry.share or entry.name in ("tokens", "errors"))


def held(ledger: Ledger) -> tuple[str, ...]:
    """What no share of the ledger counts, in sentences."""
    skips = ledger.through_skips
    return (
        f"{percent(ledger.at_position_0)} of all that ends at a position ends at the first one.",
        "Attention patterns and norms are held as this prompt left them: why heads look where they look is in no edge.",
        *(
            ["The basis has skip paths; what goes through them is in the edges and not told apart."]
            if skips is None
            else []
        ),
    )


def counted(ledger: Ledger) -> str:
    """How much of what there is is shown."""
    c = ledger.counts
    return (
        f"Shown: {joined(c.shown_features, 'feature')} of {c.active_features:,} active, "
        f"{joined(c.shown_errors, 'error')} of {c.errors:,}, {joined(c.shown_edges, 'edge')} of {c.edges:,} traced."
    )


def judged(graph: Graph) -> tuple[Judged, ...]:
    """The scores, honest ones first, and circuit-tracer's by its name."""
    s = graph.scores
    if s is None:
        return ()
    return (
        Judged("shown", s.shown.replacement, s.shown.completeness, "what is shown; all else counts as error"),
        Judged(
            "traced", s.trace.replacement, s.trace.completeness, "all that was traced; what was not counts as error"
        ),
        Judged(
            "as circuit-tracer counts",
            s.peer.replacement,
            s.peer.completeness,
            "what was not traced does not count at all, which flatters",
        ),
    )


def work(facts: TraceFacts) -> str:
    """What it took, in one line."""
    return (
        f"{facts.n_rows:,} rows in {facts.wall_seconds:.1f} s ({facts.cpu_seconds:.1f} s of CPU, "
        f"{joined(facts.threads, 'thread')}), {facts.dtype}, at most {readable_size(facts.peak_bytes)} of memory; "
        f"{shortened(facts.selection, 120)}"
    )
