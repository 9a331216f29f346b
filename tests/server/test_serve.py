"""Where the server listens."""

import socket

import pytest

from micrographia.errors import CallError
from micrographia.server.serve import PORT, listen


def test_it_listens_at_the_loopback_address_at_the_port_that_is_asked_for() -> None:
    first = listen(0)
    address, port = first.socket.getsockname()
    assert address == "127.0.0.1"
    assert first.door.port == port
    first.socket.listen()
    with pytest.raises(CallError, match=f"Port {port} is taken"):
        listen(port)
    first.close()
    again = listen(port)
    assert again.door.token != first.door.token
    again.close()


def test_the_next_port_is_taken_where_one_is_not_free() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", PORT))
        taken.listen()
        found = listen()
        assert PORT < found.door.port < PORT + 20
        found.close()
