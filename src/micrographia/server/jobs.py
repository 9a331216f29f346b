"""Work that takes a while: one thread does it, piece after piece; anybody may listen, and stop it.

The thread owns the model. A quick piece need not wait for a long one: where that one pauses, quick ones are done in
between, on the same thread.
"""

import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar, final

from micrographia.errors import CallError, MicrographiaError
from micrographia.report.wire.live import (
    CancelledEvent,
    DoneEvent,
    FailedEvent,
    JobEvent,
    ProgressEvent,
    Traced,
    WhatIfDocument,
)
from micrographia.report.wire.records import EvidenceDocument

__all__ = ["BusyError", "Job", "NotHereError", "Result", "StoppedError", "Work", "Worker"]

Result: TypeAlias = Traced | WhatIfDocument | EvidenceDocument
Work: TypeAlias = Callable[["Job"], Result]
_Found = TypeVar("_Found")

_LOG = logging.getLogger(__name__)
_WAITING = 32
"""Pieces of work that may wait."""
_REMEMBERED = 200
"""Jobs whose end can still be asked for."""
_APART = 0.1
"""Seconds between two reports of how far a job is: nobody sees more."""


class BusyError(CallError):
    """Too much waits already."""


class NotHereError(CallError):
    """There is nothing of that name."""


class StoppedError(Exception):
    """Raised inside work that was stopped, where it next says how far it is."""


@final
class Job:
    """One piece of work. Of each kind of event the newest is kept: a long job takes no more room than a short one."""

    def __init__(self, about: str, pause: Callable[[], None]) -> None:
        self.id = secrets.token_urlsafe(9)
        self.about = about
        """The graph that it is about; empty where it is about none."""
        self._pause = pause
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._events: dict[str, tuple[int, JobEvent]] = {}
        self._count = 0
        self._listeners: list[Callable[[], None]] = []
        self._said = 0.0
        self._begun = False
        self.ended = False

    # ------------------------------------------------------------ from inside

    def report(self, stage: str, done: int, total: int, /) -> None:
        """Say how far it is: a `Progress`. Work that was stopped ends here."""
        self.check()
        now = time.monotonic()
        if done == total or now - self._said >= _APART:
            self._said = now
            self.post(ProgressEvent(words=stage, done=done, total=total))

    def begin(self) -> bool:
        """Whether it is still wanted, now that its turn has come."""
        with self._lock:
            self._begun = True
            return not self.ended

    def check(self) -> None:
        """End here, if the work was stopped."""
        if self._stop.is_set():
            raise StoppedError

    def pause(self) -> None:
        """Let quick work go first; only where nothing is half done."""
        self.check()
        self._pause()

    def post(self, event: JobEvent) -> None:
        """Tell all who listen."""
        with self._lock:
            if self.ended:
                return
            self._count += 1
            self._events[event.kind] = self._count, event
            self.ended = event.kind in ("done", "failed", "cancelled")
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    # ------------------------------------------------------------ from outside

    def stop(self) -> None:
        """Ask it to end; what waits ends at once."""
        self._stop.set()
        with self._lock:
            waits = not self._begun
        if waits:
            self.post(CancelledEvent())

    def since(self, seen: int) -> list[tuple[int, JobEvent]]:
        """The newest event of each kind behind this number, in their order."""
        with self._lock:
            return sorted((one for one in self._events.values() if one[0] > seen), key=lambda one: one[0])

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after each event, from whatever thread."""
        with self._lock:
            self._listeners.append(listener)

    def leave(self, listener: Callable[[], None]) -> None:
        """Call it no more."""
        with self._lock:
            self._listeners.remove(listener)


@final
class Worker:
    """The thread, and what it has to do."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._quick: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()

    def start(self, work: Work, *, about: str = "", quick: bool = False) -> Job:
        """Begin, or wait for one's turn."""
        job = Job(about, self._catch_up)
        with self._lock:
            if sum(not each.ended for each in self._jobs.values()) >= _WAITING:
                raise BusyError(f"{_WAITING} pieces of work wait already. Wait for one of them, or stop it.")
            self._jobs[job.id] = job
            for old in [each.id for each in self._jobs.values() if each.ended][: max(len(self._jobs) - _REMEMBERED, 0)]:
                del self._jobs[old]
        self._hand_over(lambda: _run(job, work), quick)
        return job

    def ask(self, question: Callable[[], _Found]) -> "Future[_Found]":
        """A quick question to the model; its answer, or its error."""
        answer: Future[_Found] = Future()
        self._hand_over(lambda: _answer(answer, question), True)
        return answer

    def job(self, name: str) -> Job:
        """The job of this name."""
        with self._lock:
            found = self._jobs.get(name)
        if found is None:
            raise NotHereError(f"There is no job {name!r}. The server may have been started anew since.")
        return found

    def working_on(self, about: str) -> bool:
        """Whether there is work on this graph that has not ended."""
        with self._lock:
            return any(job.about == about and not job.ended for job in self._jobs.values())

    def stop(self) -> None:
        """Stop all work."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.stop()

    def close(self) -> None:
        """Stop all work and wait for the thread."""
        self.stop()
        self._thread.shutdown(wait=True)

    # ------------------------------------------------------------ parts

    def _hand_over(self, work: Callable[[], None], quick: bool) -> None:
        if quick:
            self._quick.append(work)
        try:
            done = self._thread.submit(self._catch_up if quick else work)
        except RuntimeError as error:
            raise BusyError("The server is about to end.") from error
        done.add_done_callback(_complain)

    def _catch_up(self) -> None:
        """Do what is quick and waits."""
        while self._quick:
            self._quick.popleft()()


def _run(job: Job, work: Work) -> None:
    if not job.begin():
        return
    try:
        job.post(DoneEvent(result=work(job)))
    except StoppedError:
        job.post(CancelledEvent())
    except MicrographiaError as error:
        job.post(FailedEvent(error=str(error)))
    except OSError as error:
        job.post(FailedEvent(error=f"{error.strerror or error}."))
    except BaseException as error:
        job.post(FailedEvent(error=f"This should not happen: {type(error).__name__}: {error}"))
        raise


def _complain(done: "Future[None]") -> None:
    """What nobody foresaw is shown where the server was started."""
    if not done.cancelled() and (error := done.exception()) is not None:
        _LOG.error("The work ended in a way that it should not.", exc_info=error)


def _answer(answer: "Future[_Found]", question: Callable[[], _Found]) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        answer.set_result(question())
    except MicrographiaError as error:
        answer.set_exception(error)
    except BaseException as error:
        answer.set_exception(error)
        raise
