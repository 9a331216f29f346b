"""The table of sites in the documentation is the one in the code."""

import re
from pathlib import Path

from micrographia.model.site import AXES, Point

PAGE = Path(__file__).parents[2] / "docs" / "sites.md"


def test_the_page_lists_every_point_once_in_order() -> None:
    rows = [line.split("|")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted(point.value for point in Point)


def test_the_axes_of_the_page_are_those_of_the_code() -> None:
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            points = re.findall(r"`(\w+)`", line.split("|")[1])
            axes = line.split("|")[2]
            first = " ".join(AXES[Point(points[0])])
            assert axes.strip().startswith(first), points[0]
