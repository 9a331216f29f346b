"""Nothing is swallowed, nothing is unpickled."""

import ast
from collections.abc import Iterator

from tests.house.tree import Source, package_sources

PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def caught_by(handler: ast.ExceptHandler) -> set[str]:
    if handler.type is None:
        return {"everything"}
    return {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}


def passes_on(handler: ast.ExceptHandler) -> bool:
    """Whether the handler ends by raising again what it caught, as a clean-up does."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def swallowers(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = caught_by(node)
            if caught & {"everything", "Exception"} or ("BaseException" in caught and not passes_on(node)):
                yield source.at(node)


def unpicklers(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Import():
                named = {alias.name.split(".")[0] for alias in node.names}
            case ast.ImportFrom():
                named = {(node.module or "").split(".")[0]}
            case ast.Call() if loads_by_pickle(node):
                named = {"pickle"}
            case _:
                continue
        if named & PICKLES:
            yield source.at(node)


def loads_by_pickle(call: ast.Call) -> bool:
    """`torch.load` unpickles unless told not to; `numpy.load` only if told to."""
    words = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
    is_torch_load = ast.unparse(call.func) == "torch.load"
    return (is_torch_load and words.get("weights_only") is not True) or words.get("allow_pickle", False) is not False


def test_no_failure_is_swallowed() -> None:
    assert [where for source in package_sources() for where in swallowers(source)] == []


def test_no_file_is_unpickled() -> None:
    assert [where for source in package_sources() for where in unpicklers(source)] == []
