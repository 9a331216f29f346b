"""A server in a thread, and somebody who speaks to it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import httpx2 as httpx

from micrographia.server.desk import Desk
from micrographia.server.serve import Listener, server_of

__all__ = ["Speaker", "running"]

Json = dict[str, object]


@contextmanager
def running(desk: Desk, listener: Listener) -> Iterator[None]:
    """The server as the command has it, in a thread, until the block ends."""
    begun = threading.Event()
    server = server_of(desk, listener, begun.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener.socket]})
    thread.start()
    assert begun.wait(60)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class Speaker:
    """Asks, waits for jobs, and reads events."""

    client: httpx.Client

    def get(self, path: str, **query: str | int | float) -> Json:
        answer = self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return cast("Json", answer.json())

    def refusal(self, method: str, path: str, status: int, **how: object) -> str:
        """The one sentence of what was refused."""
        answer = self.client.request(method, path, **how)
        assert answer.status_code == status, answer.text
        said = cast("Json", answer.json())
        assert list(said) == ["error"]
        assert isinstance(said["error"], str)
        return said["error"]

    def graph(self, prompt: str) -> str:
        """The id of the graph with this prompt."""
        rows = cast("list[Json]", self.get("/api/graphs")["graphs"])
        return next(str(row["id"]) for row in rows if row["prompt"] == prompt)

    def begin(self, path: str, wanted: Json) -> str:
        answer = self.client.post(path, json=wanted)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job"])

    def events(self, job: str) -> Iterator[Json]:
        """What is said of a job until it ends."""
        with self.client.stream("GET", f"/api/jobs/{job}/events", timeout=120) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def done(self, path: str, wanted: Json) -> Json:
        """The result of a job."""
        *_, last = self.events(self.begin(path, wanted))
        assert last["kind"] == "done", last
        return cast("Json", last["result"])
