"""A test can fail, and is where one looks for it."""

import ast

import pytest

from tests.house.tree import PACKAGE, REPOSITORY, Source, sources_under

TESTS = REPOSITORY / "tests"
FREE_FOLDERS = {"house", "typing", "interop", "browser", "docs"}
FILES = [source for source in sources_under(TESTS) if source.path.name.startswith("test_")]


def can_fail(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether something in the function is there to fail: an assert, or a call that expects something."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")[-1]
            if called in {"raises", "warns", "fail"} or called.startswith(("assert_", "expect")):
                return True
    return False


def mirrored(test: Source) -> bool:
    """`tests/room/test_noun.py` is for `room/noun.py`, and `tests/room/test_room.py` for the whole room.

    `tests/examples/test_noun.py` is for `examples/noun.py`.
    """
    place = test.path.relative_to(TESTS)
    noun = place.stem.removeprefix("test_")
    room = PACKAGE / place.parent
    whole = noun == room.name and (room / "__init__.py").is_file()
    example = place.parts[0] == "examples" and (REPOSITORY / place.parent / f"{noun}.py").is_file()
    free = place.parts[0] in FREE_FOLDERS
    return free or whole or example or (room / f"{noun}.py").is_file() or (room / noun).is_dir()


@pytest.mark.parametrize("source", FILES, ids=str)
def test_every_test_can_fail(source: Source) -> None:
    functions = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert functions, "a test file without a test"
    assert [source.at(function) for function in functions if not can_fail(function)] == []


def test_every_test_file_mirrors_a_source_file() -> None:
    assert [str(source) for source in FILES if not mirrored(source)] == []
