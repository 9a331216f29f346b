"""Ways to call the command: in this process, in one of its own, in front of a terminal; and what a person then sees."""

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

__all__ = ["CTRL_C_AFTER_TWO_BATCHES", "Call", "Called", "command", "on_terminal", "spawn"]

CTRL_C_AFTER_TWO_BATCHES = """
import os, signal
import micrographia.evidence.testing as testing
measure, done = testing.Experiment._measure, []
def stop(self, *rest):
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGINT)
    measure(self, *rest)
    done.append(1)
testing.Experiment._measure = stop
"""
"""What a process runs first, to be interrupted while it tests claims: two batches of controls are measured then."""


@dataclass(frozen=True)
class Called:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    def result(self) -> str:
        """What a command that did its work wrote; it had nothing to say beside."""
        assert (self.code, self.err) == (0, "")
        return self.out

    def complaint(self, code: int) -> str:
        """The one sentence of a command that refused: on stderr, without a traceback, and nothing on stdout."""
        assert self.code == code, self.err
        assert self.out == ""
        assert self.err.startswith("error: "), self.err
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1, self.err
        sentence = self.err.removeprefix("error: ").removesuffix("\n")
        assert sentence.isprintable()
        return sentence


Call: TypeAlias = Callable[..., Called]


def command(*arguments: str | bytes) -> list[str | bytes]:
    return [sys.executable, "-m", "micrographia", *arguments]


def spawn(
    *arguments: str | bytes, before: str = "", stdout: int | BinaryIO = subprocess.PIPE, **environment: str
) -> Called:
    """Call the command in a process of its own, where nothing checks shapes and nobody catches what it lets out.

    `before` is code that the process runs first.
    """
    # Unbuffered, Python itself loses what a pipe does not take at once.
    environment = {"PYTHONUNBUFFERED": "", **environment}
    start = [sys.executable, "-c", f"{before}\nfrom micrographia.cli.app import main\nmain()", *arguments]
    done = subprocess.run(
        start if before else command(*arguments),
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )
    return Called(done.returncode, (done.stdout or b"").decode(), done.stderr.decode())


def on_terminal(work: Callable[[], object]) -> str:
    """What a terminal receives while `work` writes to stdout."""
    master, slave = pty.openpty()
    received: list[bytes] = []

    def listen() -> None:
        while True:
            try:
                chunk = os.read(master, 4096)
            except OSError:  # Linux says so when the other end is closed
                return
            if not chunk:
                return
            received.append(chunk)

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        with open(slave, "w", encoding="utf-8") as screen, redirect_stdout(screen):
            work()
    finally:
        listener.join()
        os.close(master)
    return b"".join(received).decode().replace("\r\n", "\n")
