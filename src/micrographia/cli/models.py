"""`micrographia models`: what can be opened here, and which families can be read."""

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from micrographia.cli.screen import inert, print_json, results

__all__ = ["models"]

_OPENS = {
    "hub": "the same name",
    "converted": "its source, converted once",
    "damaged": "nothing: remove it, and its source is converted again",
}


def models(
    *,
    remove: Annotated[str | None, Parameter(help="Remove a converted model from the cache.")] = None,
    json: Annotated[bool, Parameter(help="Print as JSON.", negative="")] = False,
) -> None:
    """List the models that can be opened without a network, and the families that can be read.

    A hub id is fetched by whichever command is given it:

        micrographia lens "Hello" --model EleutherAI/pythia-70m
    """
    from micrographia.model import embedded
    from micrographia.model.checkpoint import list_cached, remove_cached
    from micrographia.model.families import FAMILIES
    from micrographia.store import cache_dir, readable_size

    if remove is not None:
        freed = remove_cached(remove)
        results().print(inert(f"Removed {remove}: {readable_size(freed)} freed."))
        return
    cached = list_cached()
    if json:
        print_json(
            {
                "embedded": {
                    "name": embedded.NAME,
                    "full_name": embedded.FULL_NAME,
                    "installed": embedded.is_installed(),
                },
                "cache": str(cache_dir()),
                "cached": [{**asdict(model), "path": str(model.path)} for model in cached],
                "families": [
                    {"name": family.name, "model_types": list(family.model_types), "covers": family.covers}
                    for family in FAMILIES
                ],
            }
        )
        return
    console = results()
    there = "installed" if embedded.is_installed() else f"not installed: {embedded.INSTALL_LINE}"
    console.print(Text.assemble(("Embedded  ", "bold"), f"{embedded.NAME} ({embedded.FULL_NAME}), {there}"))
    table = _plain("In the cache", "kind", "size", "opens with")
    for model in cached:
        table.add_row(inert(model.name), model.kind, readable_size(model.size), _OPENS[model.kind])
    console.print()
    console.print(table if cached else Text("Nothing is in the cache yet."))
    console.print(Text(inert(f"{cache_dir()}"), style="dim"))
    families = _plain("Family", "model_type", "covers")
    for family in FAMILIES:
        families.add_row(family.name, ", ".join(family.model_types), family.covers)
    console.print()
    console.print(families)


def _plain(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, style="cyan", no_wrap=True)
    for name in others:
        table.add_column(name, no_wrap=True)
    return table
