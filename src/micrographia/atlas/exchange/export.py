"""What an exported feature is made of, whichever tool reads it, and the choice among the tools."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.exchange.circuit_tracer import write_circuit_tracer
from micrographia.atlas.exchange.neuronpedia import write_neuronpedia
from micrographia.atlas.exchange.parquet import write_parquet
from micrographia.bases.formats.writing import new_folder
from micrographia.errors import CallError
from micrographia.model.tokens import Tokenizer
from micrographia.store import Progress, silent

__all__ = ["EXPORTS", "export_atlas"]

_Write: TypeAlias = Callable[[Atlas, Tokenizer, Path, Progress], None]

EXPORTS: Mapping[str, _Write] = MappingProxyType(
    {"circuit-tracer": write_circuit_tracer, "neuronpedia": write_neuronpedia, "parquet": write_parquet}
)
"""The tools that are written for, by name."""


def export_atlas(atlas: Atlas, tokenizer: Tokenizer, to: str, folder: Path, progress: Progress = silent) -> None:
    """Write an atlas for another tool, as a folder that appears when all of it is there."""
    if to not in EXPORTS:
        raise CallError(f"An atlas cannot be written as {to!r}; write one of: {', '.join(EXPORTS)}.")
    atlas.check_tokenizer(tokenizer)
    with new_folder(folder) as partial:
        EXPORTS[to](atlas, tokenizer, partial, progress)
