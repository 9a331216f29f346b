"""Figures and foreign texts as people read them."""

__all__ = ["inert", "joined", "percent", "shortened", "significant", "span"]


def inert(text: str) -> str:
    """A text from outside with everything written out that would steer what shows it: `\\x1b[31m`."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shortened(text: str, longest: int) -> str:
    """A text, inert, cut where it grows too long."""
    text = inert(text[: longest + 1])
    return text if len(text) <= longest else text[: longest - 1] + "…"


def percent(share: float) -> str:
    """A share of 1: `31.2%`, `0.04%`, and never 0 for what is not."""
    if share != share:
        return "?"
    if share and abs(share) < 5e-5:
        return "<0.01%" if share > 0 else ">-0.01%"
    return f"{share:.2%}" if abs(share) < 0.01 else f"{share:.1%}"


def significant(value: float) -> str:
    """A number of any size in three digits."""
    if value != value:
        return "?"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def span(first: int, last: int) -> str:
    """`24`, or `24–28`."""
    return str(first) if first == last else f"{first}–{last}"


def joined(count: int, one: str, many: str | None = None) -> str:
    """`1 edge`, `2,031 edges`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
