"""`micrographia view`: the page, live, with the model behind it."""

import contextlib
import sys
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators
from rich.console import Console
from rich.text import Text

from micrographia.cli.options import ModelOptions
from micrographia.cli.screen import inert, results
from micrographia.errors import UnsupportedError

if TYPE_CHECKING:
    from micrographia.microscope import Microscope
    from micrographia.server.instruments import Opener
    from micrographia.store import Progress

__all__ = ["view"]


def view(
    place: Annotated[
        Path,
        Parameter(help="A folder with graphs, a graph, or a graph's JSON. Default: this folder.", show_default=False),
    ] = Path(),
    /,
    *,
    port: Annotated[
        int | None,
        Parameter(
            validator=validators.Number(gte=0, lte=65535),
            help="Where the page is on this machine; 0 is any that is free. Default: 1665, or the next that is free.",
        ),
    ] = None,
    open: Annotated[
        bool | None,
        Parameter(help="Open the page in a browser. Default: if this is a terminal.", negative="--no-open"),
    ] = None,
    basis: Annotated[
        str | None,
        Parameter(help="neurons, transcoders, or a folder with transcoders. Default: those that come along."),
    ] = None,
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Show the page: walk through graphs, trace new prompts, change what is inside, test claims, name features.

    The page is on this machine only, and needs the token in the address that is printed. Graphs are looked for in the
    folder and beneath it; those that are traced from the page are kept there. Ctrl-C ends it.

        micrographia view
        micrographia view paris --port 8000 --no-open
    """
    if any(find_spec(name) is None for name in ("fastapi", "uvicorn")):
        raise UnsupportedError('The page needs a web server: pip install "micrographia[view]"')
    from micrographia.server.desk import Desk
    from micrographia.server.serve import listen, serve
    from micrographia.server.shelf import Shelf

    desk = Desk(Shelf(place), _opener(basis, model_options))
    listener = listen(port)
    address = listener.door.address

    def started() -> None:
        console = results()
        console.print(Text.assemble(("Graphs in ", "bold"), inert(str(desk.shelf.folder))))
        console.print(Text.assemble(("The page: ", "bold"), address))
        sys.stdout.flush()
        Console(stderr=True, highlight=False).print(Text("Ctrl-C ends it.", style="dim"))
        if sys.stdout.isatty() if open is None else open:
            webbrowser.open(address)

    with contextlib.suppress(KeyboardInterrupt):
        serve(desk, listener, started=started)


def _opener(basis: str | None, options: ModelOptions) -> "Opener":
    """Opens the model once, and reads it in further bases as they are asked for."""
    first: list[Microscope] = []

    def opened(name: str | None, progress: "Progress") -> "Microscope":
        from micrographia.microscope import Microscope
        from micrographia.microscope import open as open_microscope

        if not first:
            named = {"device": options.device, "dtype": options.dtype}
            first.append(open_microscope(options.model, **named, basis=basis, progress=progress))
        return first[0] if name is None else Microscope(first[0].model, name)

    return opened
