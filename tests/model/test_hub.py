"""The hub is played by a server on this machine; each answer is asked for by a process of its own, because
the hub's client reads its settings when it is imported."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from micrographia.errors import OfflineError
from micrographia.model.checkpoint import list_cached, locate

COMMIT = "1" * 40
ASK = """
import sys
from micrographia.errors import MicrographiaError
from micrographia.model import checkpoint, hub
hub._PATIENCE = 2.0
try:
    found = checkpoint.locate(sys.argv[1])
    print(found.name, found.revision, found.folder, ",".join(sorted(p.name for p in found.folder.iterdir())))
except MicrographiaError as error:
    print(f"{type(error).__name__}: {error}")
"""
FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"weights", "pytorch_model.bin": b"pickle"}


def asked(name: str, endpoint: str, cache: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ASK, name],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": endpoint,
            "HF_HUB_CACHE": str(cache),
            "HF_HUB_DISABLE_XET": "1",
            **environment,
        },
    )
    return done.stdout.strip()


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as is asked for one model, `lab/model`, and three that cannot be had."""

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        for name, (status, code) in {
            "/lab/gated": (403, "GatedRepo"),
            "/lab/model/revision/nope": (404, "RevisionNotFound"),
            "/lab/nothing": (401, "RepoNotFound"),
        }.items():
            if name in path:
                return self.answer(status, b"{}", {"X-Error-Code": code})
        if "/tree/" in path:
            listing = [
                {"type": "file", "path": name, "size": len(data), "oid": self.tag(data)} for name, data in FILES.items()
            ]
            return self.answer(200, json.dumps(listing).encode())
        if path.startswith("/api/models/lab/model"):
            return self.answer(200, json.dumps({"id": "lab/model", "sha": COMMIT, "siblings": []}).encode())
        data = FILES[path.rpartition("/")[2]]
        return self.answer(200, data, {"ETag": f'"{self.tag(data)}"', "X-Repo-Commit": COMMIT})

    @staticmethod
    def tag(data: bytes) -> str:
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_model_is_fetched_without_its_pickles_and_found_again_without_the_hub(tmp_path: Path) -> None:
    with hub() as endpoint:
        found = asked("lab/model", endpoint, tmp_path)
    assert found.startswith(f"lab/model {COMMIT} ")
    assert found.endswith(" config.json,model.safetensors")
    assert asked("lab/model", "http://127.0.0.1:9", tmp_path) == found
    assert asked(f"lab/model@{COMMIT}", "http://127.0.0.1:9", tmp_path) == found
    assert asked("lab/model", "http://127.0.0.1:9", tmp_path, HF_HUB_OFFLINE="1") == found
    assert asked("lab/model@v2", "http://127.0.0.1:9", tmp_path).startswith("OfflineError: lab/model is not in")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lab/gated", "ModelNameError: lab/gated is gated: accept its terms"),
        ("lab/nothing", "ModelNameError: The hub has no model 'lab/nothing', or it is private"),
        ("lab/model@nope", "ModelNameError: lab/model has no revision 'nope'"),
        ("a--b/c", "ModelNameError: 'a--b/c' is not a name that the hub allows"),
    ],
)
def test_what_the_hub_refuses_is_said_precisely(name: str, said: str, tmp_path: Path) -> None:
    with hub() as endpoint:
        assert asked(name, endpoint, tmp_path).startswith(said)


def test_a_hub_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = asked("lab/model", f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)
    assert said.startswith(f"OfflineError: lab/model is not in the hub's cache ({tmp_path}) and the hub cannot be")
    assert "timed out" in said


def test_without_a_network_one_sentence_says_what_would_work() -> None:
    with pytest.raises(
        OfflineError,
        match=r"lab/model is not in the hub's cache .*use the embedded model \('smollm2'\), a local folder or \.gguf "
        r"file, or run 'hf download lab/model --revision v1' on a machine with a network",
    ):
        locate("lab/model@v1")


def test_models_in_the_hub_s_cache_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "hub" / "models--lab--model" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_bytes(FILES["config.json"])
    refs = tmp_path / "hub" / "models--lab--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "ours"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert [(model.name, model.kind) for model in list_cached()] == [("lab/model", "hub")]
    assert locate("lab/model").folder == snapshot
