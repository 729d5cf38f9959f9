"""Runs of a handler, in a thread or in a process of its own, and their results."""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any
from typing import Any, Literal

from scrape_jobs.errors import LeaseLost, ScrapeJobsError
from scrape_jobs.jobs import Job
from scrape_jobs.lease import Lease
from scrape_jobs.outcomes import Cancelled, Failed, Fatal, Released, Retry

Isolation = Literal["thread", "process"]

POLL_SECONDS = 0.2
"""How often the worker checks whether a handler's process is to end."""

KILL_SECONDS = 5.0
"""Time that a handler's process has to end after SIGTERM; then it gets SIGKILL."""

MAX_MESSAGE = 4000


class LeasedJob:
    """The job that a handler works on.

    Attributes:
        job: The job as it was claimed, with all its fields.
    """

    def __init__(
        self, job: Job, report: Callable[[Mapping[str, Any]], None], check: Callable[[], None]
    ) -> None:
        """Send statistics with `report`; `check` raises the reason for the handler to end."""
        self.job = job
        self._report = report
        self._check = check

    @property
    def id(self) -> str:
        """The id of the job."""
        return self.job.id

    @property
    def domain(self) -> str:
        """The host to scrape."""
        return self.job.domain

    @property
    def job_type(self) -> str:
        """The type of the job."""
        return self.job.job_type

    @property
    def config(self) -> Mapping[str, Any]:
        """The config of the job."""
        return self.job.config

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata of the job."""
        return self.job.metadata

    @property
    def attempt(self) -> int:
        """The number of the attempt, beginning with 1."""
        return self.job.attempt

    def progress(self, **stats: Any) -> None:
        """Report statistics; they are merged into those reported before, and sent soon.

        Raises:
            Cancelled: The job was cancelled.
            LeaseLost: The lease is lost; another worker may have the job.
            Released: The worker shuts down.
            TypeError, ValueError: A value cannot be written as JSON.
        """
        json.dumps(stats, allow_nan=False)
        self._report(stats)

    def check(self) -> None:
        """Raise what `progress` raises, without a report."""
        self._check()


Handler = Callable[[LeasedJob], Mapping[str, Any] | None]
"""A function that processes one job and returns the final statistics, or None."""


@dataclass(frozen=True, slots=True)
class HandlerRun:
    """How a run of a handler ended.

    Attributes:
        kind: The result.
        message: The error message; empty unless it failed.
        stats: The statistics that the handler returned.
        delay: Seconds until a retry is due.
    """

    kind: Literal["completed", "failed", "fatal", "retry", "cancelled", "released", "lease_lost"]
    message: str = ""
    stats: Mapping[str, Any] | None = None
    delay: float | None = None

    @property
    def text(self) -> str:
        """The result as a text for the log."""
        return f"{self.kind}: {self.message}" if self.message else self.kind

    def report(self, lease: Lease) -> None:
        """Report the result to the service. Raises ScrapeJobsError."""
        match self.kind:
            case "completed":
                lease.complete(self.stats or {})
            case "failed" | "fatal":
                lease.fail(self.message, for_good=self.kind == "fatal")
            case "retry":
                lease.retry(self.message, self.delay)
            case "cancelled":
                lease.acknowledge_cancel()
            case "released":
                lease.release()
            case "lease_lost":
                pass  # another worker may have the job: nothing may be written


def call(handler: Handler, job: LeasedJob) -> HandlerRun:
    """Call the handler and return how it ended."""
    try:
        stats: object = handler(job)
    except Cancelled as verdict:
        return HandlerRun("cancelled", str(verdict))
    except Released as verdict:
        return HandlerRun("released", str(verdict))
    except LeaseLost as verdict:
        return HandlerRun("lease_lost", str(verdict))
    except Retry as wish:
        return HandlerRun("retry", str(wish), delay=wish.delay)
    except Fatal as failure:
        return HandlerRun("fatal", _last_line(failure))
    except BaseException as failure:  # noqa: BLE001 - SystemExit, too, ends only this job
        return HandlerRun("failed", _last_line(failure))
    return _completed(stats)


def _completed(stats: object) -> HandlerRun:
    """Return the run that ended with these final statistics."""
    if stats is None:
        return HandlerRun("completed")
    if not isinstance(stats, Mapping):
        name = type(stats).__name__
        return HandlerRun("failed", f"The handler returned {name} instead of a mapping or None")
    try:
        json.dumps(dict(stats), allow_nan=False)
    except (TypeError, ValueError) as error:
        return HandlerRun("failed", f"The handler returned statistics that are no JSON: {error}")
    return HandlerRun("completed", stats=dict(stats))


def _last_line(failure: BaseException) -> str:
    """Return the last line of the traceback: the type and the message."""
    name, text = type(failure).__name__, str(failure)
    line = text if isinstance(failure, Failed) and text else f"{name}: {text}".rstrip(": ")
    return line[:MAX_MESSAGE]


def run_in_thread(handler: Handler, lease: Lease) -> HandlerRun:
    """Run the handler in the calling thread."""
    return call(handler, LeasedJob(lease.job, lease.report, lease.check))


def run_in_process(handler: Handler, lease: Lease) -> HandlerRun:
    """Run the handler in a new process, and end that process if there is a verdict.

    A handler that hangs or crashes then harms no other job. The handler must be importable: a
    function of a module, not a lambda.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_run_in_child, args=(theirs, handler, dict(lease.job.document)), daemon=True
    )
    process.start()
    theirs.close()
    try:
        result = _follow(ours, lease)
    finally:
        _end(process, immediately=lease.verdict is not None)
        ours.close()
    if result is not None:
        return result
    if process.exitcode == -signal.SIGTERM:  # a shutdown of the machine ends all processes
        lease.interrupt(Released("The process of the handler was ended by SIGTERM"))
    if lease.verdict is not None:
        return call(_raise_verdict, LeasedJob(lease.job, lease.report, lease.check))
    return HandlerRun("failed", f"The process of the handler {_end_text(process.exitcode)}")


def _raise_verdict(job: LeasedJob) -> None:
    job.check()


def _follow(connection: Connection, lease: Lease) -> HandlerRun | None:
    """Pass on the reports of the process until it ends; return its result, or None without one."""
    while lease.verdict is None:
        try:
            if not connection.poll(POLL_SECONDS):
                continue
            message = connection.recv()
        except (EOFError, OSError):
            return None
        if isinstance(message, HandlerRun):
            return message
        try:
            lease.report(message)
        except ScrapeJobsError:
            return None
    return None


def _end(process: Any, *, immediately: bool) -> None:
    if immediately:
        process.terminate()
    process.join(KILL_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


def _end_text(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


def _run_in_child(connection: Connection, handler: Handler, document: Mapping[str, Any]) -> None:
    """Run the handler in this process, and send its reports and its result to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the worker, which decides
    threading.Thread(target=_end_with_worker, daemon=True).start()
    lock = threading.Lock()

    def send(message: Any) -> None:
        with lock:  # a handler may have several threads
            connection.send(message)

    send(call(handler, LeasedJob(Job.from_json(document), send, lambda: None)))


def _end_with_worker() -> None:
    """End this process as soon as the worker is dead: its lease expires."""
    worker = multiprocessing.parent_process()
    assert worker is not None
    wait_for_any([worker.sentinel])
    os._exit(1)
