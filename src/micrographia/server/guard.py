"""Who may come in: this machine's own page, with the token, and nobody else.

A page of another site can send requests to this machine, and can make its own name point here; so the Host and the
Origin are looked at first, then the token. The token is in the address that is printed; whoever comes in by it gets a
cookie that no script can read and that is sent along with this page's own requests only, and the page takes the token
out of its address. Programs send it as `Authorization: Bearer`.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import final
from urllib.parse import parse_qs, urlunsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LARGE_BODY", "SMALL_BODY", "Door", "Guard"]

SMALL_BODY = 1_000_000
LARGE_BODY = 64_000_000
"""Bytes of a graph's JSON that is sent to be kept."""
_SAFE = ("GET", "HEAD")
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_CLOSED = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Micrographia</title></head><body>'
    "<h1>This page needs its token</h1><p>Open the address that <code>micrographia view</code> printed when it "
    "started; it ends in <code>?token=…</code>. A server that was started anew has a new one.</p></body></html>"
)


@dataclass(frozen=True, slots=True)
class Door:
    """Where the server listens, and what opens it."""

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def hosts(self) -> tuple[str, str]:
        """The names under which a browser on this machine knows it."""
        return f"127.0.0.1:{self.port}", f"localhost:{self.port}"

    @property
    def origins(self) -> tuple[str, ...]:
        """What a browser says about the pages that come from here."""
        return tuple(urlunsplit(("http", host, "", "", "")) for host in self.hosts)

    @property
    def address(self) -> str:
        """What a person opens."""
        return urlunsplit(("http", self.hosts[0], "/", f"token={self.token}", ""))

    @property
    def cookie(self) -> str:
        """Cookies know no ports, so that of each server has a name of its own."""
        return f"micrographia-{self.port}"

    def opens(self, token: str) -> bool:
        """Whether this is the token; it takes as long whatever it is."""
        return secrets.compare_digest(token.encode("utf-8", "surrogateescape"), self.token.encode())


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: int
    words: str


@final
class Guard:
    """Stands in front of the application."""

    def __init__(self, app: ASGIApp, *, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        by_address = scope["method"] in _SAFE and self._door.opens(_token_in_address(scope))
        refused = self._refused(scope, by_address)
        if refused is not None:
            await _say(send, scope, refused)
            return
        cookie = f"{self._door.cookie}={self._door.token}; Path=/; HttpOnly; SameSite=Strict"
        send = _with_headers(send, {**_HEADERS, "set-cookie": cookie} if by_address else _HEADERS)
        body = await _read(receive, LARGE_BODY if scope["path"] == "/api/graphs" else SMALL_BODY, scope)
        if isinstance(body, _Refusal):
            await _say(send, scope, body)
            return
        await self._app(scope, _again(body, receive), send)

    def _refused(self, scope: Scope, by_address: bool) -> _Refusal | None:
        """Why a request is not let through; None if it is."""
        hosts, origins = _header(scope, b"host"), _header(scope, b"origin")
        if len(hosts) != 1 or hosts[0] not in self._door.hosts:
            return _Refusal(421, f"This server answers as {self._door.hosts[0]} only.")
        if by_address:
            return None
        if set(origins) - set(self._door.origins) or set(_header(scope, b"sec-fetch-site")) - {"same-origin", "none"}:
            return _Refusal(403, "This request comes from another site.")
        given = [
            word.removeprefix("Bearer ") for word in _header(scope, b"authorization") if word.startswith("Bearer ")
        ]
        if any(map(self._door.opens, given)):
            return None
        if not any(map(self._door.opens, _cookies(scope, self._door.cookie))):
            return _Refusal(401, "This request has no token. Open the address that micrographia view printed.")
        if scope["method"] not in _SAFE and not origins:
            return _Refusal(403, "This request does not say which page it comes from.")
        return None


# ---------------------------------------------------------------- requests


def _header(scope: Scope, name: bytes) -> list[str]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for key, value in headers if key == name]


def _token_in_address(scope: Scope) -> str:
    query: bytes = scope["query_string"]
    return parse_qs(query.decode("latin-1")).get("token", [""])[0] if query.startswith(b"token=") else ""


def _cookies(scope: Scope, name: str) -> list[str]:
    """The values of our cookie; others on this machine may be of any form."""
    pairs = (part.strip().partition("=") for line in _header(scope, b"cookie") for part in line.split(";"))
    return [value for key, _, value in pairs if key == name]


async def _read(receive: Receive, limit: int, scope: Scope) -> bytes | _Refusal:
    """The whole body, or the refusal of one that is too long."""
    too_long = _Refusal(413, f"This is too long: at most {limit:,} bytes can be sent here.")
    said = _header(scope, b"content-length")
    if said and (not said[0].isdecimal() or int(said[0]) > limit):
        return too_long
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return _Refusal(400, "The request ended early.")
        body += message.get("body", b"")
        if len(body) > limit:
            return too_long
        if not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, for those who come after."""
    given = False

    async def once() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once


# ---------------------------------------------------------------- answers


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name for name, _ in message.get("headers", [])}
            added = [(name.encode(), value.encode()) for name, value in headers.items() if name.encode() not in there]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return sending


async def _say(send: Send, scope: Scope, refused: _Refusal) -> None:
    page = refused.status == 401 and not scope["path"].startswith("/api/")
    body = _CLOSED.encode() if page else json.dumps({"error": refused.words}).encode()
    kind = b"text/html; charset=utf-8" if page else b"application/json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await _with_headers(send, _HEADERS)({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
