"""What a module offers is what its `__all__` says, and a package only passes on what its modules offer."""

import ast
import importlib
from collections.abc import Iterator

import pytest

from tests.house.tree import Source, package_sources

INITS = [source for source in package_sources() if source.path.name == "__init__.py"]
MODULES = [source for source in package_sources() if source.path.name != "__init__.py"]
TOP = "micrographia"


def names_bound_by(statement: ast.stmt) -> Iterator[str]:
    """The names that a top-level statement defines; what it imports is not its own."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name
        case ast.Assign():
            for target in statement.targets:
                yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.If() | ast.Try() | ast.With():
            for inner in ast.iter_child_nodes(statement):
                if isinstance(inner, ast.stmt):
                    yield from names_bound_by(inner)
        case _:
            pass


def names_passed_on(source: Source) -> Iterator[str]:
    """The names that an `__init__.py` imports from us; `TYPE_CHECKING` and its like only serve it."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == TOP):
            yield from (alias.asname or alias.name for alias in node.names)


def public(names: Iterator[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def declared(source: Source) -> list[str] | None:
    """The value of `__all__`, or nothing where the module has none."""
    for statement in source.tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and "__all__" in names_bound_by(statement):
            return list(ast.literal_eval(statement.value or ast.List([])))
    return None


def is_passing_on(statement: ast.stmt, top: bool) -> bool:
    """Whether a statement of an `__init__.py` is there to re-export; the top package may do so lazily."""
    match statement:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name in {"__all__", "__version__"} or (top and name.startswith("_"))
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=[]):
            return all(isinstance(inner, ast.Import | ast.ImportFrom) for inner in statement.body)
        case ast.FunctionDef(name="__getattr__" | "__dir__"):
            return top
        case _:
            return False


@pytest.mark.parametrize("source", MODULES, ids=str)
def test_a_module_declares_exactly_what_it_defines(source: Source) -> None:
    defined = public(name for statement in source.tree.body for name in names_bound_by(statement))
    assert set(declared(source) or []) == defined


@pytest.mark.parametrize("source", INITS, ids=str)
def test_a_package_only_passes_on(source: Source) -> None:
    strangers = [source.at(node) for node in source.tree.body if not is_passing_on(node, source.module == TOP)]
    assert strangers == []


@pytest.mark.parametrize("source", INITS, ids=str)
def test_a_package_declares_exactly_what_it_imports(source: Source) -> None:
    assert set(declared(source) or []) - {"__version__"} == public(names_passed_on(source))


@pytest.mark.parametrize("source", package_sources(), ids=str)
def test_every_declared_name_is_there(source: Source) -> None:
    module = importlib.import_module(source.module)
    names = declared(source) or []
    assert [name for name in names if not hasattr(module, name)] == []
    assert len(names) == len(set(names))
