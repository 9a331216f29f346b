"""Who comes in, and who does not."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest

from micrographia.server.guard import LARGE_BODY, SMALL_BODY, Door, Guard
from micrographia.server.serve import Listener

DOOR = Door(1665, "the-token")
HOST = "127.0.0.1:1665"
ORIGIN = "http://127.0.0.1:1665"
COOKIE = "micrographia-1665=the-token"


class Inside:
    """An application that says what reached it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope, receive, send) -> None:
        self.bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


def asked(method: str = "GET", path: str = "/api/about", query: str = "", body: bytes = b"", **headers: str):
    """Status, headers and body of the answer, and what reached the application."""
    inside, sent = Inside(), []
    given = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
    }

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message) -> None:
        sent.append(message)

    # A thread of its own: a browser of other tests may have left its loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, Guard(inside, door=DOOR)(scope, receive, send)).result()
    start, end = sent
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, end["body"], inside.bodies


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1", "127.0.0.1:80", "localhost", "127.0.0.1:1665.evil.example", "", "0.0.0.0:1665"],
)
def test_a_foreign_host_is_refused_whatever_it_knows(host: str) -> None:
    """A name that was made to point here is not ours."""
    status, _, _, inside = asked(host=host, cookie=COOKIE)
    assert (status, inside) == (421, [])
    status, _, _, inside = asked(host=host, path="/", query="token=the-token")
    assert (status, inside) == (421, [])


@pytest.mark.parametrize("host", [HOST, "localhost:1665"])
def test_this_machine_is_let_in_with_the_cookie(host: str) -> None:
    status, headers, body, _ = asked(host=host, cookie=f'other={{}}; {COOKIE}; x="a;b')
    assert (status, body) == (200, b"inside")
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    "cookie", ["", "micrographia-1665=", "micrographia-1665=the-toke", "micrographia-1666=the-token"]
)
def test_nobody_is_let_in_without_the_token(cookie: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
        status, _, _, inside = asked(method, cookie=cookie, origin=ORIGIN)
        assert (status, inside) == (401, [])
    assert asked(query="token=the-toke")[0] == 401
    assert asked(query="x=1&token=the-token")[0] == 401
    assert asked(authorization="Bearer the-toke")[0] == 401
    assert asked(authorization="Basic the-token")[0] == 401


def test_the_token_in_the_address_gives_a_cookie_that_no_script_reads() -> None:
    status, headers, body, _ = asked(path="/graph/abc", query="token=the-token", sec_fetch_site="cross-site")
    assert (status, body) == (200, b"inside")
    assert headers["set-cookie"] == f"{COOKIE}; Path=/; HttpOnly; SameSite=Strict"
    assert "set-cookie" not in asked(cookie=COOKIE)[1]


def test_the_token_in_the_address_changes_nothing() -> None:
    assert asked("POST", query="token=the-token", origin=ORIGIN)[0] == 401
    assert asked("DELETE", query="token=the-token", origin=ORIGIN)[0] == 401


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "https://127.0.0.1:1665",
        "http://127.0.0.1:1666",
        "http://localhost",
        f"{ORIGIN}/",
        "http://[",
        "",
    ],
)
def test_a_foreign_origin_is_refused(origin: str) -> None:
    for method in ("GET", "POST"):
        status, _, _, inside = asked(method, cookie=COOKIE, origin=origin)
        assert (status, inside) == (403, [])


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_another_page_on_this_machine_is_refused(site: str) -> None:
    """To a browser, another port is the same site: its cookie comes along."""
    assert asked(cookie=COOKIE, sec_fetch_site=site)[0] == 403
    assert asked(cookie=COOKIE, sec_fetch_site="same-origin")[0] == 200


def test_what_changes_something_says_where_it_comes_from() -> None:
    assert asked("POST", cookie=COOKIE)[0] == 403
    assert asked("POST", cookie=COOKIE, origin=ORIGIN)[0] == 200
    assert asked("POST", authorization="Bearer the-token")[0] == 200


def test_bodies_are_limited_whatever_they_say() -> None:
    long = b"x" * (SMALL_BODY + 1)
    for headers in ({}, {"content_length": str(len(long))}, {"content_length": "-1"}, {"content_length": "many"}):
        status, _, _, inside = asked("POST", body=long, cookie=COOKIE, origin=ORIGIN, **headers)
        assert (status, inside) == (413, [])
    assert asked("POST", body=long[1:], cookie=COOKIE, origin=ORIGIN)[3] == [long[1:]]
    assert asked("POST", "/api/graphs", body=long, cookie=COOKIE, origin=ORIGIN)[0] == 200
    assert asked("POST", "/api/graphs", cookie=COOKIE, origin=ORIGIN, content_length=str(LARGE_BODY + 1))[0] == 413


def test_two_hosts_are_none(served: Listener) -> None:
    port = served.door.port
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\n\r\n".encode())
        assert line.recv(100).split()[1] in (b"400", b"421")


def test_nobody_from_elsewhere_reaches_the_server(served: Listener) -> None:
    """It listens at the loopback address, and at no other of this machine."""
    assert served.socket.getsockname()[0] == "127.0.0.1"
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in others:
        with socket.socket() as line:
            line.settimeout(2)
            assert line.connect_ex((address, served.door.port)) != 0
    assert httpx.get(f"{served.door.origins[0]}/").status_code == 401
