"""Readers side by side, each in a process of its own; or one, in this process."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, TypeAlias, cast, final

import torch
import torch.multiprocessing as processes

from micrographia.atlas.harvest import Harvest, Job
from micrographia.errors import MicrographiaError, WorkError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

__all__ = ["read_all"]

_Said: TypeAlias = "int | Exception | None"
"""A block is done; it cannot go on; all are done."""


def read_all(
    job: Job, blocks: Sequence[int], *, workers: int, stopped: Callable[[], bool], tell: Callable[[int], object]
) -> None:
    """Read blocks; with one worker in this process. The number of workers changes no bit of what comes of it.

    Each reader has one thread: products of matrices depend on the number of threads in their last bits.
    """
    if workers == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            Harvest(job, 0).read(blocks, stopped=stopped, tell=tell)
        finally:
            torch.set_num_threads(threads)
        return
    readers = [_Reader.start(job, number, blocks[number::workers]) for number in range(workers)]
    try:
        _listen(readers, stopped, tell)
    except BaseException:
        for reader in readers:
            reader.process.terminate()
        raise
    finally:
        for reader in readers:
            reader.process.join()
            reader.pipe.close()


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    process: "BaseProcess"
    pipe: "Connection"

    @staticmethod
    def start(job: Job, number: int, blocks: Sequence[int]) -> "_Reader":
        context = processes.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=_work, args=(job, number, list(blocks), theirs), daemon=True)
        process.start()
        theirs.close()
        return _Reader(process, mine)

    def hear(self) -> _Said:
        try:
            return cast("_Said", self.pipe.recv())
        except (EOFError, OSError):
            self.process.join(timeout=5)
            code = self.process.exitcode
            return WorkError(
                f"A reader process ended by itself (exit code {code}): perhaps there was too little memory. "
                "The same command goes on from what is done; try fewer --workers."
            )


def _listen(readers: Sequence[_Reader], stopped: Callable[[], bool], tell: Callable[[int], object]) -> None:
    busy, told_to_stop = {reader.pipe: reader for reader in readers}, False
    while busy:
        if stopped() and not told_to_stop:
            told_to_stop = True
            for pipe in busy:
                pipe.send(None)
        for pipe in wait(list(busy), timeout=0.2):
            match busy[cast("Connection", pipe)].hear():
                case int() as block:
                    tell(block)
                case None:
                    del busy[cast("Connection", pipe)]
                case error:
                    raise error


def _work(job: Job, number: int, blocks: Sequence[int], pipe: "Connection") -> None:
    """A reader's life: it ends when its blocks are read, when it is told to stop, or when nobody listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the master's business
    torch.set_num_threads(1)
    try:
        Harvest(job, number).read(blocks, stopped=pipe.poll, tell=pipe.send)
        pipe.send(None)
    except (MicrographiaError, OSError) as error:
        pipe.send(error)
