"""The server, started and ended: on this machine's own address, until Ctrl-C."""

import errno
import socket
from collections.abc import Callable
from typing import final

import uvicorn

from micrographia.errors import CallError
from micrographia.server.app import application
from micrographia.server.desk import Desk
from micrographia.server.guard import Door

__all__ = ["PORT", "Listener", "listen", "serve", "server_of"]

PORT = 1665
_TRIED = 20
"""Ports that are tried if none is asked for."""
_PATIENCE = 3
"""Seconds that open requests have to end in."""


@final
class Listener:
    """A place to listen at that is taken: nobody else can have it."""

    def __init__(self, taken: socket.socket) -> None:
        self.socket = taken
        self.door = Door(taken.getsockname()[1])

    def close(self) -> None:
        self.socket.close()


def listen(port: int | None = None) -> Listener:
    """Take a port of this machine's own address: the one given, or the first that is free from `PORT` on."""
    for number in range(PORT, PORT + _TRIED) if port is None else [port]:
        taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", number))
        except OSError as error:
            taken.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            continue
        return Listener(taken)
    which = f"{PORT} to {PORT + _TRIED - 1} are" if port is None else f"{port} is"
    raise CallError(f"Port {which} taken. Give another one: --port 0 takes any that is free.")


def serve(desk: Desk, listener: Listener, *, started: Callable[[], None]) -> None:
    """Answer until Ctrl-C. `started` is called when the first request can be answered."""
    server_of(desk, listener, started).run(sockets=[listener.socket])


def server_of(desk: Desk, listener: Listener, started: Callable[[], None]) -> uvicorn.Server:
    """The server, to be run."""
    config = uvicorn.Config(
        application(desk, listener.door),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_PATIENCE,
    )
    return _Server(config, desk, started)


class _Server(uvicorn.Server):
    """Work stops before open requests are waited for: those who listen to it would listen for ever."""

    def __init__(self, config: uvicorn.Config, desk: Desk, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._desk, self._started = desk, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._desk.worker.stop()
        await super().shutdown(sockets)
