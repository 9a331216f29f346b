"""The command that serves the page: what it prints, how it ends, what it refuses."""

import json
import os
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.cli.calling import Call, command
from tests.graph.graphs import small_graph


def test_it_prints_an_address_answers_and_ends_in_peace(folder: Path, tmp_path: Path) -> None:
    small_graph().save(tmp_path / "graph")
    line = command("view", str(tmp_path), "--port", "0", "--no-open", "--model", str(folder), "--basis", "neurons")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        assert server.stdout.readline() == f"Graphs in {tmp_path}\n"
        address = server.stdout.readline().removeprefix("The page: ").strip()
        home, token = address.split("/?token=")
        asked = urllib.request.Request(f"{home}/api/graphs", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert [row["name"] for row in json.load(answer)["graphs"]] == ["graph"]
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
        assert server.stdout.read() == ""
        assert server.stderr.read() == "Ctrl-C ends it.\n"


def test_a_place_that_is_not_there_is_refused(call: Call, tmp_path: Path) -> None:
    assert "There is no" in call("view", str(tmp_path / "none")).complaint(2)


def test_a_port_that_is_taken_is_refused(call: Call, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"Port {port} is taken" in call("view", str(tmp_path), "--port", port, "--no-open").complaint(2)


def test_without_a_web_server_it_says_what_to_install(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("micrographia.cli.view.find_spec", lambda name: None)
    assert 'pip install "micrographia[view]"' in call("view", str(tmp_path)).complaint(2)
