"""Words that do not stand in the package."""

import ast
import re

import pytest

from tests.house.tree import PACKAGE, REPOSITORY, Source, package_sources

BANNED = {
    "unfinished work": re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\braise NotImplementedError\b"),
    "another word for feature": re.compile(r"\blatents?\b|dictionary[ _-]elements?", re.IGNORECASE),
}
HOST = re.compile(r"\bhttps?://(?!www\.w3\.org/)", re.IGNORECASE)
"""Names of XML vocabularies begin with one, and are never fetched."""


@pytest.mark.parametrize("reason", BANNED)
def test_no_banned_word_stands_in_the_package(reason: str) -> None:
    found = [
        f"{source}:{number}: {line.strip()}"
        for source in package_sources()
        for number, line in enumerate(source.text.splitlines(), 1)
        if BANNED[reason].search(line)
    ]
    assert found == []


def test_no_network_address_stands_in_the_package_or_the_scripts() -> None:
    files = [
        path
        for folder in (PACKAGE, REPOSITORY / "scripts")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    ]
    assert files
    assert [str(path) for path in files if HOST.search(path.read_text(encoding="utf-8", errors="ignore"))] == []


@pytest.mark.parametrize("source", package_sources(), ids=str)
def test_a_file_opens_by_saying_what_it_is(source: Source) -> None:
    assert ast.get_docstring(source.tree)
