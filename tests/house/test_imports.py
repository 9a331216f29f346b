"""Importing the package is quick, and what it imports is asked for in pyproject.toml."""

import ast
import json
import re
import subprocess
import sys
import time
import tomllib
from importlib.metadata import packages_distributions

from tests.house.tree import REPOSITORY, package_sources

SECONDS = 0.3
HEAVY = ("torch", "transformers", "numpy", "pydantic")


def interpreter(code: str) -> str:
    """What a fresh interpreter prints, without this process's shape checks."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def quickest(code: str, runs: int = 5) -> float:
    """Wall time of the best run: the others waited for the machine."""
    taken: list[float] = []
    for _ in range(runs):
        start = time.perf_counter()
        interpreter(code)
        taken.append(time.perf_counter() - start)
    return min(taken)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_packages() -> set[str]:
    """The foreign top-level packages that any file imports, also inside a function."""
    imported: set[str] = set()
    for source in package_sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add((node.module or "").split(".")[0])
    return imported - set(sys.stdlib_module_names) - {"micrographia"}


def declared_distributions() -> set[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for name in extras if name != "dev" for line in extras[name])]
    return {canonical(re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0]) for line in wanted}


def test_importing_the_package_is_quick() -> None:
    assert quickest("import micrographia") - quickest("pass") < SECONDS


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = interpreter("import json, sys, micrographia; print(json.dumps(sorted(sys.modules)))")
    assert set(HEAVY) & set(json.loads(loaded)) == set()


def test_every_imported_package_is_declared() -> None:
    ships = packages_distributions()
    declared = declared_distributions()
    undeclared = {
        name for name in imported_packages() if not declared & {canonical(dist) for dist in ships.get(name, [])}
    }
    assert undeclared == set()
