"""Figures and foreign texts as people read them."""

import pytest

from micrographia.report.words import inert, joined, percent, shortened, significant, span


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0.00%"), (1.0, "100.0%"), (0.312, "31.2%"), (0.0042, "0.42%"), (1e-9, "<0.01%"), (float("nan"), "?")],
)
def test_a_share_is_never_shown_as_nothing_when_it_is_something(share: float, shown: str) -> None:
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.00123456, "0.00123"), (12.34, "12.3"), (2314.2, "2,314"), (float("nan"), "?")]
)
def test_a_number_has_three_digits_or_its_thousands(value: float, shown: str) -> None:
    assert significant(value) == shown


def test_what_would_steer_a_terminal_is_written_out() -> None:
    assert inert("a\x1b[31m\n\u202e\ud800é␣") == "a\\x1b[31m\\n\\u202e\\ud800é␣"


def test_a_long_text_is_cut_and_says_so() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"
    assert len(shortened("\x1b" * 10_000, 6)) == 6


def test_counts_and_spans_read_as_words() -> None:
    assert joined(1, "edge") == "1 edge"
    assert joined(2031, "edge") == "2,031 edges"
    assert joined(0, "query", "queries") == "0 queries"
    assert (span(3, 3), span(3, 5)) == ("3", "3–5")
