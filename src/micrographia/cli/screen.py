"""What a person sees: results on stdout, progress and complaints on stderr."""

import json
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from micrographia.store import Progress as Report

__all__ = ["complain", "inert", "print_json", "progress", "results", "shade"]

_UNBOUNDED = 10_000


def results() -> Console:
    """Where results go. A pipe has no width, so nothing is cut there; `[red]` and `:eyes:` in a text are only text."""
    width = None if sys.stdout.isatty() else _UNBOUNDED
    return Console(highlight=False, markup=False, emoji=False, width=width, soft_wrap=width is not None)


def inert(text: str) -> str:
    """A text that came from outside, with what would steer a terminal written out: `\\x1b[31m`."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def complain(message: str) -> None:
    """One clear sentence about what went wrong."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text.assemble(("error: ", "bold red"), inert(message)))


def print_json(content: Mapping[str, object]) -> None:
    """A result for other programs, in ASCII, so that it is JSON whatever encoding stdout has."""
    sys.stdout.write(json.dumps(content, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextmanager
def progress() -> "Generator[Report]":
    """One bar per stage of long work, on stderr; gone when the work is done, silent where nobody looks."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int, /) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(inert(stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def shade(probability: float) -> str:
    """A colour that grows with a probability, readable on dark and light."""
    return (
        "bold green"
        if probability >= 0.5
        else "green"
        if probability >= 0.1
        else "default"
        if probability >= 0.02
        else "dim"
    )
