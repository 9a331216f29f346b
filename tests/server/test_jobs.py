"""Work on one thread: in order, stoppable, quick things in between, and no event lost that says how it ended."""

import threading
import time

import pytest

from micrographia.errors import CallError, WorkError
from micrographia.report.wire.live import JobEvent, Traced
from micrographia.server.jobs import BusyError, Job, NotHereError, Result, Worker


@pytest.fixture
def worker():
    made = Worker()
    yield made
    made.close()


def ended(job: Job) -> JobEvent:
    """The last event of a job, when it has ended."""
    deadline = time.monotonic() + 30
    while not job.ended:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return job.since(0)[-1][1]


def giving(name: str):
    return lambda job: Traced(id=name)


class Held:
    """Work that goes on until it is let go, and says so now and then."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.threads: list[str] = []

    def __call__(self, job: Job) -> Result:
        self.begun.set()
        while not self.go.wait(0.002):
            self.threads.append(threading.current_thread().name)
            job.report("held", 0, 1)
            job.pause()
        return Traced(id="held")


def test_work_is_done_one_after_the_other_on_one_thread(worker: Worker) -> None:
    seen: list[tuple[int, str]] = []

    def noted(number: int):
        def work(job: Job) -> Result:
            seen.append((number, threading.current_thread().name))
            return Traced(id=str(number))

        return work

    jobs = [worker.start(noted(i)) for i in range(10)]
    assert [ended(job).kind for job in jobs] == ["done"] * 10
    assert [number for number, _ in seen] == list(range(10))
    assert len({name for _, name in seen}) == 1


def test_quick_work_is_done_where_long_work_pauses_on_the_same_thread(worker: Worker) -> None:
    held, found = Held(), []
    long = worker.start(held)
    assert held.begun.wait(30)

    def quick(job: Job) -> Result:
        found.append(threading.current_thread().name)
        return Traced(id="quick")

    assert ended(worker.start(quick, quick=True)).kind == "done"
    assert worker.ask(lambda: threading.current_thread().name).result(30) == found[0]
    assert not long.ended
    held.go.set()
    assert ended(long).kind == "done"
    assert set(held.threads) == set(found)


def test_what_is_not_quick_waits(worker: Worker) -> None:
    held = Held()
    worker.start(held)
    second = worker.start(giving("second"))
    assert held.begun.wait(30)
    time.sleep(0.05)
    assert second.since(0) == []
    held.go.set()
    assert ended(second).kind == "done"


def test_work_stops_where_it_says_how_far_it_is(worker: Worker) -> None:
    held = Held()
    job = worker.start(held)
    assert held.begun.wait(30)
    job.stop()
    assert ended(job).kind == "cancelled"
    assert ended(worker.start(giving("next"))).kind == "done"


def test_what_waits_ends_at_once_when_it_is_stopped_and_is_never_begun(worker: Worker) -> None:
    held, begun = Held(), []
    worker.start(held)
    waiting = worker.start(lambda job: begun.append(1) or Traced(id=""))
    waiting.stop()
    assert waiting.ended
    assert [event.kind for _, event in waiting.since(0)] == ["cancelled"]
    held.go.set()
    assert ended(worker.start(giving("after"))).kind == "done"
    assert begun == []


@pytest.mark.parametrize("error", [CallError("No."), WorkError("Broken."), FileNotFoundError(2, "No such file")])
def test_a_failure_is_said_in_a_sentence(worker: Worker, error: Exception) -> None:
    def work(job: Job) -> Result:
        raise error

    event = ended(worker.start(work))
    assert event.kind == "failed"
    assert event.error in ("No.", "Broken.", "No such file.")


def test_what_nobody_foresaw_is_said_and_shown_and_ends_only_itself(worker: Worker, caplog) -> None:
    def work(job: Job) -> Result:
        raise ZeroDivisionError("by nothing")

    event = ended(worker.start(work))
    assert event.kind == "failed"
    assert "ZeroDivisionError" in event.error
    assert ended(worker.start(giving("next"))).kind == "done"
    assert "ZeroDivisionError" in caplog.text
    with pytest.raises(CallError, match="none"):
        worker.ask(lambda: (_ for _ in ()).throw(CallError("none"))).result(30)


def test_of_each_kind_the_newest_event_is_kept_and_the_end_is_the_last(worker: Worker) -> None:
    def work(job: Job) -> Result:
        for done in range(1000):
            job._said = 0.0
            job.report("counting", done, 1000)
        return Traced(id="x")

    job = worker.start(work)
    assert ended(job).kind == "done"
    events = job.since(0)
    assert [event.kind for _, event in events] == ["progress", "done"]
    assert events[0][1].done == 999
    assert job.since(events[-1][0]) == []
    job.report("late", 1, 1)
    assert job.since(0) == events


def test_listeners_hear_of_each_event_until_they_leave(worker: Worker) -> None:
    heard, held = threading.Event(), Held()
    job = worker.start(held)
    job.listen(heard.set)
    held.go.set()
    assert heard.wait(30)
    job.leave(heard.set)
    ended(job)


def test_too_much_at_once_is_refused(worker: Worker) -> None:
    held = Held()
    jobs = [worker.start(held), *(worker.start(giving("x")) for _ in range(31))]
    with pytest.raises(BusyError, match="wait already"):
        worker.start(giving("x"))
    held.go.set()
    assert [ended(job).kind for job in jobs] == ["done"] * 32


def test_old_jobs_are_forgotten_and_unknown_ones_not_there(worker: Worker) -> None:
    first = worker.start(giving("first"))
    ended(first)
    for i in range(300):
        ended(worker.start(giving(str(i))))
    with pytest.raises(NotHereError, match="no job"):
        worker.job(first.id)
    assert len(worker._jobs) <= 202


def test_an_end_of_the_server_stops_all_work_and_begins_none() -> None:
    made, held = Worker(), Held()
    jobs = [made.start(held), made.start(giving("waits"))]
    assert held.begun.wait(30)
    made.close()
    assert [ended(job).kind for job in jobs] == ["cancelled", "cancelled"]
    with pytest.raises(BusyError, match="about to end"):
        made.start(giving("late"))
