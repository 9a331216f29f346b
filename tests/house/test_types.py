"""How much of the package escapes the type checker; both numbers only fall."""

import re
import tokenize

from tests.house.tree import package_sources

LOADING_EDGE = {
    "src/micrographia/model/checkpoint.py",
    "src/micrographia/model/families.py",
    "src/micrographia/model/gguf.py",
}
"""Where files and foreign configurations come in; elsewhere nothing is `Any`."""

MOST_IGNORES = 2

IGNORE = re.compile(r"#\s*(type|pyright):\s*ignore(?P<rule>\[[\w, -]+\])?")
OTHER_PRAGMA = re.compile(r"#\s*(pyright:(?!\s*ignore)|mypy:|type:\s*ignore-errors)")


def comments() -> list[tuple[str, str]]:
    return [
        (source.at(token), token.string)
        for source in package_sources()
        for token in source.tokens
        if token.type == tokenize.COMMENT
    ]


def test_any_stands_only_at_the_loading_edge() -> None:
    found = {
        str(source)
        for source in package_sources()
        for token in source.tokens
        if token.type == tokenize.NAME and token.string == "Any"
    }
    assert found - LOADING_EDGE == set()


def test_ignores_only_become_fewer() -> None:
    ignores = [where for where, comment in comments() if IGNORE.search(comment)]
    assert len(ignores) <= MOST_IGNORES, ignores


def test_an_ignore_names_its_rule() -> None:
    nameless = [where for where, text in comments() if (hit := IGNORE.search(text)) and not hit["rule"]]
    assert nameless == []


def test_no_file_asks_for_milder_rules() -> None:
    assert [where for where, comment in comments() if OTHER_PRAGMA.search(comment)] == []
