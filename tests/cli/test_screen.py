"""Results on stdout, everything else on stderr, and nothing that would steer a terminal."""

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrographia.cli.screen import complain, inert, print_json, progress, results, shade
from tests.cli.calling import on_terminal

ANY_TEXT = st.text(st.characters())
"""Lone surrogates included."""


@given(ANY_TEXT)
def test_an_inert_text_can_be_printed_anywhere(text: str) -> None:
    assert inert(text).isprintable()
    inert(text).encode()


@given(st.text().filter(str.isprintable))
def test_what_is_already_inert_stays_as_it_is(text: str) -> None:
    assert inert(text) == text


def test_what_would_steer_a_terminal_is_written_out() -> None:
    assert inert("\x1b[31ma\x07\r\n\u202eb\x9b2J\udcff\0") == r"\x1b[31ma\x07\r\n\u202eb\x9b2J\udcff\x00"


def test_a_complaint_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    complain("[red]no[/red] [/b] :eyes:\n\x1b[31m" + "long " * 100)
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err == "error: [red]no[/red] [/b] :eyes:\\n\\x1b[31m" + "long " * 100 + "\n"


@given(st.recursive(st.none() | ANY_TEXT | st.integers() | st.floats(allow_nan=False, allow_infinity=False), st.lists))
def test_what_is_printed_as_json_is_one_line_of_ascii_and_comes_back(content: object) -> None:
    """Hypothesis cannot use `capsys`, so stdout is replaced by hand."""
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        print_json({"content": content})
        printed = sys.stdout.getvalue()
    finally:
        sys.stdout = before
    assert printed.isascii()
    assert printed.count("\n") == 1
    assert json.loads(printed) == {"content": content}


def test_a_pipe_has_no_width(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    results().print("word " * 50)
    assert capsys.readouterr().out.count("\n") == 1


def test_a_terminal_has_its_own_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "50")
    monkeypatch.setenv("TERM", "dumb")
    lines = on_terminal(lambda: results().print("word " * 50)).splitlines()
    assert {len(line.rstrip()) for line in lines[:-1]} == {19}


def test_progress_is_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as report:
        report("unpacking", 1, 2)
        report("unpacking", 2, 2)
    assert capsys.readouterr() == ("", "")


def test_progress_is_a_bar_on_stderr_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")

    def work() -> None:
        monkeypatch.setattr(sys, "stderr", sys.stdout)
        with progress() as report:
            for stage in ("checking [/b]\x1b[31m", "unpacking"):
                report(stage, 1, 2)
                report(stage, 2, 2)

    shown = on_terminal(work)
    assert "unpacking" in shown
    assert "2/2" in shown
    assert r"checking [/b]\x1b[31m" in shown
    assert shown.rstrip("\n").endswith("\x1b[2K"), "the last that is sent clears the line"


def test_a_shade_never_pales_as_a_probability_grows() -> None:
    order = ["dim", "default", "green", "bold green"]
    shades = [order.index(shade(i / 1000)) for i in range(1001)]
    assert shades == sorted(shades)
    assert set(shades) == {0, 1, 2, 3}
