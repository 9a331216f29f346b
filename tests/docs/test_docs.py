"""What the documentation shows can be run, and the pages can be built and read offline.

Every fenced block marked `python` in the README and under docs/ is run, file by file, top to bottom, with
one namespace for each file. A block that cannot run here says why, on the line before it:
`<!-- not run: reason -->`.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]

BLOCK = re.compile(
    r"^(?:[ \t]*<!-- *not run:(?P<reason>.*?)-->[ \t]*\n)?"
    r"(?P<fence>[ \t]*```)python\b[^\n]*\n(?P<code>.*?)^[ \t]*```",
    re.MULTILINE | re.DOTALL,
)
LOADED_FROM_AFAR = re.compile(
    r"<(?:script|img|iframe)[^>]+src=[\"']?(?:https?:)?//|<link[^>]+stylesheet[^>]+href=[\"']?(?:https?:)?//"
)


@dataclass(frozen=True)
class Block:
    """One block of Python in a page."""

    code: str
    line: int
    indented: bool
    reason: str | None


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            code=hit["code"],
            line=text.count("\n", 0, hit.start("code")),
            indented=hit["fence"] != "```",
            reason=hit["reason"],
        )
        for hit in BLOCK.finditer(text)
    ]


def name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def test_blocks_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n\n```python\nx = 1\n```\n\n<!-- not run: slow -->\n```python\nx = 2\n```\n```json\n{}\n```\n")
    assert [(block.code, block.line, block.reason) for block in blocks_of(page)] == [
        ("x = 1\n", 3, None),
        ("x = 2\n", 8, " slow "),
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=name)
def test_every_block_of_python_runs(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        where = f"{name(page)}:{block.line}"
        assert not block.indented, f"{where}: an indented block cannot be run; put it at the margin"
        assert block.reason is None or block.reason.strip(), f"{where}: say why this is not run"
        if block.reason is None:
            # The empty lines in front make a traceback name the page's own line.
            exec(compile("\n" * block.line + block.code, str(page), "exec"), namespace)


def test_the_pages_can_be_built_and_load_nothing_from_afar(tmp_path: Path) -> None:
    # Not --quiet: it would silence the warnings before --strict counts them.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert tmp_path / "index.html" in pages
    assert [str(page) for page in pages if LOADED_FROM_AFAR.search(page.read_text(encoding="utf-8"))] == []
