"""A tiny model behind a server, a shelf of graphs, and two ways to speak to it: in this process, and over a socket.

Our own package is imported inside the fixtures: its shape checks are put in place after conftest files load.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import httpx2 as httpx
import pytest

from tests.cli.conftest import call
from tests.model.conftest import case, model, tiny

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from micrographia.microscope import Microscope
    from micrographia.model.model import Model
    from micrographia.server.desk import Desk
    from micrographia.server.serve import Listener
    from tests.server.speaking import Speaker

__all__ = ["call", "case", "model", "tiny"]


@pytest.fixture(scope="session")
def looking(tiny: Callable[[str], Model]) -> Microscope:
    """A tiny Llama in float64, read in its neurons."""
    from micrographia.microscope import Microscope

    return Microscope(tiny("llama"), "neurons")


@pytest.fixture
def shelf_folder(tmp_path: Path, looking: Microscope) -> Path:
    """Two graphs of the model, one of another tool, and things that are no graphs."""
    from tests.server.shelves import fill

    fill(tmp_path, looking)
    return tmp_path


@pytest.fixture
def desk(shelf_folder: Path, looking: Microscope) -> Iterator[Desk]:
    from micrographia.microscope import Microscope
    from micrographia.server.desk import Desk
    from micrographia.server.shelf import Shelf

    made = Desk(Shelf(shelf_folder), lambda name, _: looking if name is None else Microscope(looking.model, name))
    yield made
    made.close()


@pytest.fixture
def served(desk: Desk) -> Iterator[Listener]:
    """The server, really listening."""
    from micrographia.server.serve import listen
    from tests.server.speaking import running

    listener = listen(0)
    with running(desk, listener):
        yield listener


@pytest.fixture
def speaker(served: Listener) -> Iterator[Speaker]:
    """Somebody with the token, as a page has it."""
    from tests.server.speaking import Speaker

    with httpx.Client(base_url=served.door.origins[0], timeout=60) as client:
        assert client.get("/", params={"token": served.door.token}).status_code == 200
        client.headers["origin"] = served.door.origins[0]
        yield Speaker(client)
    assert threading.active_count() < 50
