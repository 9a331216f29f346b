"""A file is one noun, a function is one thought."""

import ast
from statistics import median

from tests.house.tree import REPOSITORY, package_sources, sources_under

FILE_LINES = 500
FUNCTION_LINES = 80
MEDIAN_FUNCTION_LINES = 12
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "core"}


def function_lengths() -> dict[str, int]:
    """Lines of each function from its `def` to its last line; bodies that are only `...` say nothing."""
    return {
        f"{source.at(node)} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for source in package_sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_declaration(node)
    }


def is_declaration(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    last = function.body[-1]
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is ...


def test_no_file_is_longer_than_it_may_be() -> None:
    everything = (*package_sources(), *sources_under(REPOSITORY / "tests"))
    lengths = {str(source): len(source.text.splitlines()) for source in everything}
    assert {where: lines for where, lines in lengths.items() if lines > FILE_LINES} == {}


def test_no_function_is_longer_than_it_may_be() -> None:
    lengths = function_lengths()
    assert {where: lines for where, lines in lengths.items() if lines > FUNCTION_LINES} == {}


def test_most_functions_are_short() -> None:
    assert median(function_lengths().values() or [0]) <= MEDIAN_FUNCTION_LINES


def test_no_module_has_a_name_that_says_nothing() -> None:
    everything = (*package_sources(), *sources_under(REPOSITORY / "tests"))
    vague = [
        str(source)
        for source in everything
        if VAGUE_NAMES & {part.lstrip("_") for part in source.path.relative_to(REPOSITORY).with_suffix("").parts}
    ]
    assert vague == []
