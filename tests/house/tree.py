"""The files that the house rules look at."""

import ast
import io
import tokenize
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

__all__ = ["PACKAGE", "REPOSITORY", "Source", "package_sources", "sources_under"]

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "src" / "micrographia"


@dataclass(frozen=True)
class Source:
    """One Python file, read once and parsed once."""

    path: Path

    def __str__(self) -> str:
        return self.path.relative_to(REPOSITORY).as_posix()

    @property
    def module(self) -> str:
        """The name under which the package's file is imported."""
        parts = self.path.relative_to(PACKAGE.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @cached_property
    def tokens(self) -> list[tokenize.TokenInfo]:
        return list(tokenize.generate_tokens(io.StringIO(self.text).readline))

    def at(self, node: ast.AST | tokenize.TokenInfo) -> str:
        """Where something stands, as an editor understands it."""
        line = node.start[0] if isinstance(node, tokenize.TokenInfo) else getattr(node, "lineno", 1)
        return f"{self}:{line}"


@cache
def sources_under(folder: Path) -> tuple[Source, ...]:
    return tuple(Source(path) for path in sorted(folder.rglob("*.py")))


def package_sources() -> tuple[Source, ...]:
    """Every Python file of the package; a rule that looked at none would hold for nothing."""
    sources = sources_under(PACKAGE)
    assert sources, f"no Python file under {PACKAGE}"
    return sources
