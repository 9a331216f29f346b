"""What comes from people who mean no good: requests of every form, after which the server answers as before."""

import json
import random
import re
import socket
from collections.abc import Mapping

from micrographia.server.serve import Listener
from tests.graph.graphs import HOSTILE
from tests.server.shelves import PROMPT
from tests.server.speaking import Speaker

Schema = Mapping[str, object]

PATHS = ["/", "/api/graphs", "/api/traces", "/api/jobs/x/events", "/api/features", "\0", "*", "/%", "/\xff", "a" * 9000]
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "X" * 50, "", "get"]
LINES = [
    "Host: evil.example",
    "Authorization: Bearer",
    "Content-Length: -5",
    "Content-Length: 99999999999999999999",
    "Content-Length: 10",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
    "Content-Type: application/json",
    "Expect: 100-continue",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Cookie: " + "x" * 5000,
    "Cookie: \x01=\x02; micrographia",
    "no colon",
    ": empty",
    "X: " + "y" * 70_000,
    "Origin: null",
    "Last-Event-ID: -1",
]
BODIES = [b"", b"{}", b"{" * 1000, b"\0" * 100, b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b'{"prompt": NaN}', b"\xff\xfe"]
ODD = [None, True, -1, 0, 2**70, 1e308, -0.5, "", "\0", "../..", [], {}, [[[]]], *HOSTILE]


def test_a_thousand_malformed_requests_leave_the_server_well(speaker: Speaker, served: Listener) -> None:
    chance = random.Random(1665)
    door = served.door
    ours = [f"Host: {door.hosts[0]}", f"Authorization: Bearer {door.token}"]
    answered = 0
    for _ in range(1000):
        chosen = chance.sample(ours, chance.randint(0, 2)) + chance.sample(LINES, chance.randint(0, 4))
        first = f"{chance.choice(METHODS)} {chance.choice(PATHS)} HTTP/{chance.choice(['1.1', '1.1', '1.0', '9'])}"
        request = "\r\n".join([first, *chosen, "", ""]).encode("latin-1") + chance.choice(BODIES)
        cut = chance.randint(1, len(request)) if chance.random() < 0.2 else len(request)
        answer = sent(door.port, request[:cut])
        if answer:
            answered += 1
            assert re.match(rb"HTTP/1\.1 [1234]\d\d ", answer), (request[:300], answer)
    assert answered > 500
    assert speaker.get("/api/about")["state"] == "ready"
    assert speaker.done("/api/traces", {"prompt": "t9", "target": "t4", "nodes": 3})["kind"] == "traced"


def sent(port: int, request: bytes) -> bytes:
    """What comes back, if anything does."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        try:
            line.sendall(request)
            line.shutdown(socket.SHUT_WR)
            return line.recv(4096)
        except OSError:
            return b""


# ---------------------------------------------------------------- by the description


def test_whatever_the_description_allows_or_not_is_answered_or_refused(speaker: Speaker) -> None:
    """Every route, with values of the right form and of wrong ones; never a failure of the server's own."""
    chance = random.Random(1665)
    described = speaker.get("/api/openapi.json")
    known = [speaker.graph(PROMPT), "none"]
    routes = [(path, method, how) for path, ways in described["paths"].items() for method, how in ways.items()]
    assert len(routes) >= 20
    seen: dict[int, int] = {}
    jobs: list[str] = []
    for path, method, how in routes * 12:
        place = path
        named = {each["name"]: value_of(each["schema"], described, chance) for each in how.get("parameters", [])}
        if chance.random() < 0.7:
            named = {key: chance.choice(known) if key == "name" else value for key, value in named.items()}
        inside = {each["name"] for each in how.get("parameters", []) if each["in"] == "path"}
        for key in inside:
            place = place.replace("{" + key + "}", quoted(named[key]))
        query = {key: str(value)[:5000] for key, value in named.items() if key not in inside and value is not None}
        query.pop("last-event-id", None)
        body = how.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        content = None if body is None else json.dumps(value_of(body, described, chance))
        answer = speaker.client.request(method.upper(), place, params=ascii_only(query), content=content)
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        assert answer.status_code < 500 or answer.status_code == 503, (method, place, content, answer.text)
        assert str(answer.status_code) in how["responses"] or answer.status_code >= 400, (method, place, answer.text)
        if answer.status_code >= 400 and method != "head":
            assert list(answer.json()) == ["error"]
        if answer.status_code == 202:
            jobs.append(answer.json()["job"])
            speaker.client.delete(f"/api/jobs/{jobs[-1]}")
    assert seen.get(200, 0) > 20
    assert seen.get(422, 0) > 20
    for job in jobs:
        assert [*speaker.events(job)][-1]["kind"] in ("done", "failed", "cancelled")
    assert speaker.get("/api/about")["state"] == "ready"


def value_of(schema: Schema, described: Schema, chance: random.Random) -> object:
    """A value of this form, or now and then of another."""
    if chance.random() < 0.08:
        return chance.choice(ODD)
    match schema:
        case {"$ref": str(place)}:
            found = described
            for part in place.removeprefix("#/").split("/"):
                found = found[part]
            return value_of(found, described, chance)
        case {"anyOf": list(ways)}:
            return value_of(chance.choice(ways), described, chance)
        case {"const": value}:
            return value
        case {"enum": list(values)}:
            return chance.choice(values)
        case {"type": "object"}:
            fields = schema.get("properties", {})
            wanted = schema.get("required", [])
            chosen = [name for name in fields if name in wanted or chance.random() < 0.5]
            return {name: value_of(fields[name], described, chance) for name in chosen}
        case {"type": "array", "items": items}:
            return [value_of(items, described, chance) for _ in range(chance.randint(schema.get("minItems", 0), 3))]
        case {"type": "string"}:
            return chance.choice(["t3 t4", "t5", "0.1@2=x0", "token@1", "nothing", "free", *HOSTILE])
        case {"type": "integer"}:
            return chance.randint(int(schema.get("minimum", -3)), 8)
        case {"type": "number"}:
            return chance.choice([0.5, 1.0, 0.01, 0.0, 1e-9])
        case _:
            return None


def quoted(value: object) -> str:
    """One segment of a path, whatever it holds."""
    return "".join(f"%{byte:02x}" for byte in str(value)[:200].encode("utf-8", "replace")) or "%20"


def ascii_only(query: dict[str, str]) -> dict[str, str]:
    """Half characters cannot be written into an address."""
    return {key: value.encode("utf-8", "replace").decode() for key, value in query.items()}
