"""A worker: claims jobs, runs a handler for each, keeps the leases and reports the results."""

import logging
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from scrape_jobs.errors import (
    APIError,
    ConnectionFailed,
    ScrapeJobsError,
    ServerError,
    TooManyRequests,
)
from scrape_jobs.handling import Handler, Isolation, run_in_process, run_in_thread
from scrape_jobs.jobs import Job
from scrape_jobs.lease import Lease
from scrape_jobs.outcomes import Released

if TYPE_CHECKING:
    from scrape_jobs.client import ScrapeJobs

log = logging.getLogger(__name__)

EMPTY_PAUSE_SECONDS = 1.0
"""Mean pause after a claim that returned no job at once: no place to wait was free."""

FAILURE_PAUSE_SECONDS = 5.0
"""Mean pause after a claim that failed although the client repeated it."""

CLAIM_SECONDS = 5.0
"""Time that a claim takes beyond its wait, at the end of a worker."""

NOTICE_SECONDS = 1.0
"""Time that a handler has to notice that its job is given back, before the worker ends."""


class Worker:
    """Claims jobs and runs a handler for each of them; see `ScrapeJobs.worker`."""

    def __init__(
        self,
        api: "ScrapeJobs",
        *,
        job_types: Sequence[str] | None = None,
        domains: Sequence[str] | None = None,
        concurrency: int = 1,
        lease: int = 60,
        grace: float = 25,
        poll: int = 5,
        isolate: Isolation = "thread",
        worker_id: str | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        self.worker_id = worker_id or f"{socket.gethostname()}-{os.getpid()}"
        self._api = api
        self._job_types = job_types
        self._domains = domains
        self._concurrency = concurrency
        self._lease_seconds = lease
        self._grace = grace
        # A claim that waits when the worker is stopped ends within the grace time.
        self._poll = int(min(poll, grace))
        self._isolate: Isolation = isolate
        self._handler: Handler | None = None
        self._stopping = threading.Event()
        self._grace_is_over = threading.Event()
        self._free_slots = threading.Semaphore(concurrency)
        self._runs: set[_Run] = set()
        self._lock = threading.Lock()
        self._fault: ScrapeJobsError | None = None

    def handler(self, function: Handler) -> Handler:
        """Use `function` as the handler; a decorator.

        The handler gets a `LeasedJob`. Its return value, a mapping or None, is merged into the
        job's statistics, and the job is completed. If it raises an exception, the job fails.
        """
        self._handler = function
        return function

    def stop(self) -> None:
        """Claim no more jobs, and make `run` return once the running ones have ended.

        Jobs that are still running after the grace time are given back. The second call ends the
        grace time.
        """
        if self._stopping.is_set():
            self._grace_is_over.set()
        self._stopping.set()

    def run(self) -> None:
        """Work until `stop` is called, or until SIGTERM or SIGINT in the main thread.

        Raises:
            APIError: The service refuses the claims, for example because of the key.
            RuntimeError: No handler is set.
        """
        if self._handler is None:
            raise RuntimeError("Set a handler first: @worker.handler")
        with _Signals(self.stop):
            claimer = threading.Thread(target=self._claim_jobs, name="claims", daemon=True)
            claimer.start()
            log.info("worker %s claims up to %d jobs", self.worker_id, self._concurrency)
            while not self._stopping.wait(1.0):  # a bounded wait, so that signals are handled
                if not claimer.is_alive():
                    raise RuntimeError("The thread that claims jobs has ended")
            self._finish(claimer, time.monotonic() + self._grace)
        if self._fault is not None:
            raise self._fault

    def _finish(self, claimer: threading.Thread, deadline: float) -> None:
        """Wait for the running jobs until `deadline`, then give the others back."""
        while claimer.is_alive() or self._current_runs():
            if time.monotonic() >= deadline or self._grace_is_over.wait(0.1):
                break
        claimer.join(self._poll + CLAIM_SECONDS)  # it would claim the jobs that are given back
        unfinished = self._current_runs()
        for run in unfinished:
            run.give_back()
        end = time.monotonic() + NOTICE_SECONDS
        for run in unfinished:
            run.thread.join(max(0.0, end - time.monotonic()))
        log.info("worker %s has stopped; %d jobs were given back", self.worker_id, len(unfinished))

    def _current_runs(self) -> list["_Run"]:
        with self._lock:
            return list(self._runs)

    # The thread that claims

    def _claim_jobs(self) -> None:
        while not self._stopping.is_set():
            slots = self._take_slots()
            if not slots:
                continue
            jobs: Sequence[Job] = ()
            started = time.monotonic()
            try:
                jobs = self._claim(slots)
            except (ConnectionFailed, ServerError, TooManyRequests) as failure:
                log.warning("no jobs could be claimed: %s", failure)
                self._pause(FAILURE_PAUSE_SECONDS)
            except APIError as refusal:
                self._fault = refusal
                self.stop()
            for job in jobs:
                self._begin(job, started)
            for _ in range(slots - len(jobs)):
                self._free_slots.release()
            if not jobs and time.monotonic() - started < self._poll / 2:
                self._pause(EMPTY_PAUSE_SECONDS)

    def _take_slots(self) -> int:
        """Take all free slots; return how many, or 0 if none becomes free soon."""
        if not self._free_slots.acquire(timeout=0.5):
            return 0
        taken = 1
        while taken < self._concurrency and self._free_slots.acquire(blocking=False):
            taken += 1
        return taken

    def _claim(self, limit: int) -> Sequence[Job]:
        return self._api.claim(
            self.worker_id,
            job_types=self._job_types,
            domains=self._domains,
            limit=limit,
            lease_seconds=self._lease_seconds,
            wait_seconds=self._poll,
        )

    def _begin(self, job: Job, claimed_at: float) -> None:
        lease = Lease(self._api, job, self._lease_seconds, claimed_at)
        if self._stopping.is_set():
            with suppress(ScrapeJobsError):  # the lease expires otherwise
                lease.release()
            self._free_slots.release()
            return
        assert self._handler is not None
        run = _Run(lease, self._handler, self._isolate, self._ended)
        with self._lock:
            self._runs.add(run)
        run.thread.start()

    def _ended(self, run: "_Run") -> None:
        with self._lock:
            self._runs.discard(run)
        self._free_slots.release()

    def _pause(self, mean_seconds: float) -> None:
        self._stopping.wait(random.uniform(0, 2 * mean_seconds))  # noqa: S311 - jitter, no secret


class _Run:
    """The run of the handler for one job, in a thread of its own."""

    def __init__(
        self,
        lease: Lease,
        handler: Handler,
        isolate: Isolation,
        on_end: Callable[["_Run"], None],
    ) -> None:
        self._lease = lease
        self._handler = handler
        self._isolate = isolate
        self._on_end = on_end
        self._was_given_back = False
        self.thread = threading.Thread(target=self._work, name=f"job {lease.job.id}", daemon=True)

    def give_back(self) -> None:
        """Give the job back to the queue, and make the handler end."""
        self._was_given_back = True
        self._lease.interrupt(Released("The worker shuts down"))
        self._lease.end()
        with suppress(ScrapeJobsError):  # the lease expires otherwise
            self._lease.release()

    def _work(self) -> None:
        job_id = self._lease.job.id
        self._lease.start()
        try:
            run = run_in_process if self._isolate == "process" else run_in_thread
            result = run(self._handler, self._lease)
            self._lease.end()
            if not self._was_given_back:
                result.report(self._lease)
            log.info("job %s: %s", job_id, result.text)
        except ScrapeJobsError as failure:
            log.error("job %s: the result could not be reported: %s", job_id, failure)
        finally:
            self._lease.end()
            self._on_end(self)


class _Signals:
    """Calls a function on SIGTERM and SIGINT; only the main thread can handle signals."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._previous: Mapping[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGTERM, signal.SIGINT)
            self._previous = {n: signal.signal(n, self._handle) for n in numbers}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        log.info("%s: no more jobs are claimed", signal.Signals(number).name)
        self._stop()
