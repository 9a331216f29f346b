"""What was predicted against what was measured, as an SVG picture: a mark for each claim, bars for its controls."""

from collections.abc import Sequence
from html import escape

from micrographia.evidence.evidence import Agreement, Evidence, Tested
from micrographia.evidence.verdicts import Verdict
from micrographia.report.words import inert, joined, significant

__all__ = ["scatter"]

_SIZE, _EDGE = 420, 56
_NAMESPACE = "http:" + "//www.w3.org/2000/svg"  # a name that SVG must bear; nothing is fetched
_COLOURS: dict[Verdict, str] = {"confirmed": "#009e73", "refuted": "#d55e00", "untested": "#767c85"}


def scatter(evidence: Evidence) -> str:
    """The claims about the answer that were tried. On the diagonal, an effect is as predicted."""
    tried = evidence.tried
    values = [value for one in tried for value in _extent(one)]
    reach = max(map(abs, values), default=0.0) * 1.05 or 1.0
    parts = [
        f'<svg xmlns="{_NAMESPACE}" viewBox="0 0 {_SIZE + 2 * _EDGE} {_SIZE + 2 * _EDGE}" '
        f'font-family="ui-sans-serif,system-ui,sans-serif" font-size="12" role="img">',
        f"<title>{escape(_title(evidence, len(tried)))}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *_axes(reach),
        *(_bar(one, reach) for one in tried),
        *(_claim(one, reach) for one in tried),
        *_words(evidence, len(tried)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _extent(one: Tested) -> list[float]:
    assert one.measured is not None, "only what was tried is drawn"
    band = (one.judgement.low, one.judgement.high)
    return [one.claim.predicted, one.measured.effect, *(value for value in band if value is not None)]


def _at(value: float, reach: float) -> float:
    return _EDGE + _SIZE * (value + reach) / (2 * reach)


def _axes(reach: float) -> Sequence[str]:
    middle, end = _EDGE + _SIZE / 2, _EDGE + _SIZE
    line = '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-dasharray="{}"/>'.format
    text = '<text x="{:.1f}" y="{:.1f}" text-anchor="middle" fill="#4b5563">{}</text>'.format
    return (
        line(_EDGE, middle, end, middle, "#c3c8cf", "none"),
        line(middle, _EDGE, middle, end, "#c3c8cf", "none"),
        line(_EDGE, end, end, _EDGE, "#767c85", "4 4"),
        text(_EDGE + 8, end + 18, f"−{significant(reach)}"),
        text(end - 8, end + 18, f"+{significant(reach)}"),
        text(middle, end + 34, "predicted by all paths, in logits"),
        f'<text transform="translate({_EDGE - 20} {middle}) rotate(-90)" text-anchor="middle" fill="#4b5563">'
        "measured in the model</text>",
    )


def _bar(one: Tested, reach: float) -> str:
    """The middle of its controls; all of them lie behind the marks."""
    low, high, x = one.judgement.low, one.judgement.high, _at(one.claim.predicted, reach)
    if low is None or high is None:
        return ""
    ends = f'y1="{_at(-low, reach):.1f}" y2="{_at(-high, reach):.1f}"'
    return f'<line class="controls" x1="{x:.1f}" x2="{x:.1f}" {ends} stroke="#c3c8cf" stroke-width="3"/>'


def _claim(one: Tested, reach: float) -> str:
    judged, measured = one.judgement, one.measured
    assert measured is not None, "only what was tried is drawn"
    x, y = _at(one.claim.predicted, reach), _at(-measured.effect, reach)
    figures = f"{one.claim.predicted:+.3g} predicted, {measured.effect:+.3g} measured"
    words = f"{inert(one.claim.name)}: {figures}; {judged.why}"
    return f"<g><title>{escape(words)}</title>{_mark(judged.verdict, x, y, _COLOURS[judged.verdict])}</g>"


def _mark(verdict: Verdict, x: float, y: float, colour: str) -> str:
    """Told apart by form as well as by colour."""
    if verdict == "refuted":
        cross = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
        return f'<path d="{cross}" stroke="{colour}" stroke-width="2" fill="none"/>'
    fill = colour if verdict == "confirmed" else "none"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'


def _words(evidence: Evidence, n: int) -> Sequence[str]:
    lines = [_title(evidence, n)]
    verdicts = [one.judgement.verdict for one in evidence.tried]
    if (each := evidence.agreement()) is not None:
        lines.append(_agreed(each))
    said = zip("●×○", _COLOURS, ("confirmed", "refuted", "undecided"), strict=True)
    marks = (f"{mark} {verdicts.count(verdict)} {word}" for mark, verdict, word in said)
    lines.append(", ".join((*marks, "bars: the middle 95 % of controls")))
    return [
        f'<text x="{_EDGE}" y="{16 + 15 * number}" fill="#1b1f24">{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]


def _title(evidence: Evidence, n: int) -> str:
    return f"{inert(evidence.name)} without each of {joined(n, 'part')}"


def _agreed(each: Agreement) -> str:
    return f"sign right in {each.signs:.0%}, correlation {each.pearson:.2f}, slope {each.slope:.2f}"
