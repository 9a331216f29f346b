"""Predicted against measured, as a picture: a mark for each claim that was tried, where its figures say."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from micrographia.evidence.claims import Claim
from micrographia.evidence.evidence import Evidence, Measured
from micrographia.graph.nodes import NodeId
from micrographia.report.scatter import scatter
from tests.graph.graphs import HOSTILE

SVG = "{http:" + "//www.w3.org/2000/svg}"
TARGET = NodeId.parse("target.0")
NEAR = tuple(np.random.default_rng(0).permutation(np.linspace(-0.5, 0.5, 99)).tolist())


def evidence(*pairs: tuple[float, float | None], name: str = "␣French") -> Evidence:
    """Claims of so much, with such effects; the first is beyond its controls."""
    claims = tuple(
        Claim(f"{i}.0@0", (NodeId.parse(f"{i}.0@0"),), TARGET, 0.0, total, 0.1) for i, (total, _) in enumerate(pairs)
    )
    measured = {
        claim.name: Measured(effect, 0.5, NEAR, 0.1)
        for claim, (_, effect) in zip(claims, pairs, strict=True)
        if effect is not None
    }
    return Evidence(TARGET, name, 1.0, 0.7, claims, measured, family=len(claims))


def drawn(found: Evidence) -> ET.Element:
    return ET.fromstring(scatter(found))


def marks(picture: ET.Element) -> list[ET.Element]:
    return picture.findall(f"{SVG}g")


def centre(mark: ET.Element) -> tuple[float, float]:
    circle = mark.find(f"{SVG}circle")
    if circle is not None:
        return float(circle.attrib["cx"]), float(circle.attrib["cy"])
    path = mark.find(f"{SVG}path")
    assert path is not None
    x, y = map(float, re.findall(r"-?[0-9.]+", path.attrib["d"])[:2])
    return x + 4, y + 4


def test_what_was_tried_has_a_mark_of_its_verdict_and_says_its_figures() -> None:
    found = evidence((2.0, 1.5), (-1.0, 0.8), (1.0, 0.1), (3.0, None))
    assert [one.judgement.verdict for one in found.tried] == ["confirmed", "refuted", "refuted"]
    first, second, third = marks(drawn(found))
    said = [mark.findtext(f"{SVG}title") for mark in (first, second, third)]
    assert said[0] == "0.0@0: +2 predicted, +1.5 measured; as predicted, and beyond its controls"
    assert said[1] == "1.0@0: -1 predicted, +0.8 measured; it moves the other way"
    assert said[2].endswith("its controls do as much")
    assert first.find(f"{SVG}circle").attrib["fill"] == "#009e73"
    assert all(mark.find(f"{SVG}circle") is None for mark in (second, third)), "told apart by form, too"


def test_marks_stand_where_their_figures_are_and_what_is_as_predicted_on_the_diagonal() -> None:
    one, two = (centre(mark) for mark in marks(drawn(evidence((2.0, 2.0), (-1.0, 0.5)))))
    left, size, reach = 56, 420, 2.0 * 1.05

    def at(value: float) -> float:
        return left + size * (value + reach) / (2 * reach)

    assert one == pytest.approx((at(2.0), at(-2.0)), abs=0.1)
    assert two == pytest.approx((at(-1.0), at(-0.5)), abs=0.1)
    assert one[0] - left == pytest.approx(left + size - one[1], abs=0.1), "on the diagonal"


def test_a_bar_is_the_middle_of_the_controls_and_there_is_none_without_enough_of_them() -> None:
    found = evidence((2.0, 1.5), (1.0, 0.1))
    few = {**found.measured, "1.0@0": Measured(0.1, 0.5, NEAR[:5], 0.1)}
    picture = drawn(replace(found, measured=few))
    [bar] = [line for line in picture.findall(f"{SVG}line") if line.get("class") == "controls"]
    assert float(bar.attrib["y1"]) > float(bar.attrib["y2"]), "from low to high"
    assert bar.attrib["x1"] == bar.attrib["x2"]
    first, _ = marks(picture)
    assert float(bar.attrib["x1"]) == pytest.approx(centre(first)[0], abs=0.1)
    assert list(picture).index(bar) < list(picture).index(first), "bars cover no mark"


def test_the_words_count_verdicts_and_say_how_well_effects_were_predicted() -> None:
    text = " ".join(drawn(evidence((2.0, 1.5), (-1.0, 0.8), (1.0, 0.1), (3.0, None))).itertext())
    assert "␣French without each of 3 parts" in text
    assert "sign right in 67%" in text
    assert "● 1 confirmed" in text
    assert "× 2 refuted" in text
    assert "○ 0 undecided" in text, "what was not tried is not drawn"


def test_with_nothing_tried_it_is_a_picture_all_the_same() -> None:
    picture = drawn(evidence((2.0, None)))
    assert marks(picture) == []
    assert "without each of 0 parts" in " ".join(picture.itertext())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_only_text(name: str) -> None:
    picture = drawn(evidence((2.0, 1.5), name=name))
    assert {element.tag.removeprefix(SVG) for element in picture.iter()} <= {
        "svg",
        "title",
        "rect",
        "line",
        "text",
        "g",
        "circle",
        "path",
    }
    assert all(c.isprintable() or c == "\n" for c in "".join(picture.itertext()))
