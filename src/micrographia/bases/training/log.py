"""The log of a training: a line of JSON for each block, and no line twice, however often it is taken up."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

from micrographia import store
from micrographia.bases.training.trainer import BlockProgress
from micrographia.errors import WorkError

__all__ = ["LOG", "append", "cut_back"]

LOG = "log.jsonl"


def append(folder: Path, progress: BlockProgress) -> None:
    """Write down what a block did."""
    line = {
        "block": progress.block,
        "of": progress.of,
        "positions": progress.positions,
        "seconds": round(progress.seconds, 3),
        **{figure: progress.mean(figure) for figure in ("fvu", "l0", "dead")},
        "layers": {str(layer): asdict(found) for layer, found in progress.layers.items()},
    }
    path = folder / LOG
    with store.writing(path, kind=WorkError, elsewhere="go on with --resume."), path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def cut_back(folder: Path, block: int) -> None:
    """Forget what was written about blocks that are trained on again; a line that a kill cut short goes too."""
    path = folder / LOG
    if not path.is_file():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _number(line) <= block]
    with store.atomic_file(path) as stream:
        stream.write("".join(line + "\n" for line in kept if _number(line) > 0).encode())


def _number(line: str) -> int:
    """The block of a line; 0 where it is no whole line."""
    try:
        found = cast("Mapping[str, object]", json.loads(line)).get("block", 0)
    except (ValueError, AttributeError):
        return 0
    return found if isinstance(found, int) else 0
