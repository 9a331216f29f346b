"""What lies on the shelf of the tests."""

import json
from functools import cache
from pathlib import Path

from micrographia.graph.exchange import write_graph_json
from micrographia.graph.graph import Graph
from micrographia.microscope import Microscope
from tests.graph.graphs import full_graph

__all__ = ["PROMPT", "SECOND", "fill", "small_trace"]

PROMPT = "t3 t5 t7 t9 t11"
SECOND = "t4 t6 t8"


@cache
def small_trace(looking: Microscope, prompt: str = PROMPT) -> Graph:
    return looking.trace(prompt, target="t13", max_nodes=40, share=0.7)


def fill(folder: Path, looking: Microscope) -> None:
    """Two graphs of the model, one deeper down; another tool's graph; what is no graph."""
    small_trace(looking).save(folder / "first")
    (folder / "more").mkdir()
    small_trace(looking, SECOND).save(folder / "more" / "second")
    write_graph_json(full_graph(text="foreign"), folder / "foreign.json")
    (folder / "notes.json").write_text(json.dumps({"metadata": "none"}))
    (folder / "other.json").write_text("[1, 2]")
    (folder / ".hidden").mkdir()
    (folder / "empty").mkdir()
