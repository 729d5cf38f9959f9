"""A worker: claims jobs, runs a handler for each, keeps the leases and reports the results."""

import logging
import os
import random
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any

from scrape_jobs.errors import APIError, ScrapeJobsError, TooManyRequests
from scrape_jobs.handling import Handler, HandlerRun, Isolation, run_in_process, run_in_thread
from scrape_jobs.jobs import Job
from scrape_jobs.lease import RETRY_SECONDS, TEMPORARY, Lease
from scrape_jobs.outcomes import Released
from scrape_jobs.retrying import RetryPolicy

if TYPE_CHECKING:
    from scrape_jobs.client import ScrapeJobs

log = logging.getLogger(__name__)

EMPTY_PAUSE_SECONDS = 1.0
"""Mean pause after a claim that returned no job at once: no place to wait was free."""

FAILURE_PAUSE_SECONDS = 5.0
"""Longest mean pause after a claim that failed although the client repeated it."""

LONGEST_PAUSE_SECONDS = 60.0
"""The longest Retry-After that is obeyed: the service's limits are for one minute."""

CLAIM_SECONDS = 5.0
"""Time that a claim takes beyond its wait, at the end of a worker."""

NOTICE_SECONDS = 1.0
"""Time that a handler has to notice the end of the worker. Then its job is given back anyway."""

RELEASE_SECONDS = 5.0
"""Time to give jobs back at the end of a worker. Without the service the leases expire."""


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
        # After a lost answer the service may have leased jobs to this worker already: hurry.
        # A long Retry-After is obeyed between two claims, where `stop` ends the pause.
        self._api = api.with_options(
            retry=RetryPolicy(max_seconds=RETRY_SECONDS, max_retry_after=RETRY_SECONDS)
        )
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
        # Signal handlers may put into a SimpleQueue; setting an Event there can block for good.
        self._stop_calls: SimpleQueue[str] = SimpleQueue()
        self._free_slots = threading.Semaphore(concurrency)
        self._runs: set[_Run] = set()
        self._lock = threading.Lock()
        self._fault: Exception | None = None
        self._request: _ClaimRequest | None = None

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
        self._stop_calls.put("stop")

    def run(self) -> None:
        """Work until `stop` is called, or until SIGTERM or SIGINT in the main thread.

        Raises:
            APIError: The service refuses the claims, for example because of the key.
            RuntimeError: No handler is set.
        """
        if self._handler is None:
            raise RuntimeError("Set a handler first: @worker.handler")
        with _Signals(self._stop_calls.put):
            claimer = threading.Thread(target=self._claim_jobs, name="claims", daemon=True)
            claimer.start()
            log.info("worker %s claims up to %d jobs", self.worker_id, self._concurrency)
            log.info("%s: no more jobs are claimed", self._stop_calls.get())
            self._stopping.set()
            self._finish(claimer, time.monotonic() + self._grace)
        if self._fault is not None:
            raise self._fault

    def _finish(self, claimer: threading.Thread, deadline: float) -> None:
        """Wait for the running jobs until `deadline`, then give the others back."""
        while claimer.is_alive() or self._current_runs():
            if time.monotonic() >= deadline or self._is_stopped_again():
                break
        _join([claimer], NOTICE_SECONDS)  # it could claim the jobs that are given back
        unfinished = self._current_runs()
        for run in unfinished:
            run.interrupt()
        _join([run.thread for run in unfinished], NOTICE_SECONDS)
        _join([run.give_back() for run in self._current_runs()], RELEASE_SECONDS)
        _join([claimer], self._poll + CLAIM_SECONDS)  # it gives back what it still claims
        log.info("worker %s has stopped; %d jobs were interrupted", self.worker_id, len(unfinished))

    def _is_stopped_again(self) -> bool:
        """Wait a moment; return whether `stop` was called, or a signal came, once more."""
        try:
            self._stop_calls.get(timeout=0.1)
        except Empty:
            return False
        return True

    def _current_runs(self) -> list["_Run"]:
        with self._lock:
            return list(self._runs)

    # The thread that claims

    def _claim_jobs(self) -> None:
        try:
            # A claim without an answer is repeated even then: the service may have given jobs.
            while self._request is not None or not self._stopping.is_set():
                slots = self._take_slots()
                if slots:
                    self._fill(slots)
        except Exception as fault:  # noqa: BLE001 - `run` raises it
            self._fault = fault
            if not self._stopping.is_set():  # a second call would end the grace time
                self.stop()

    def _fill(self, slots: int) -> None:
        """Claim a job for each slot and begin with it; free the slots that are left."""
        request = self._request = self._request or _ClaimRequest(slots, str(uuid.uuid4()))
        try:
            jobs = self._claim(request)
        except TEMPORARY as failure:
            log.warning("no jobs could be claimed: %s", failure)
            if self._stopping.is_set() or isinstance(failure, TooManyRequests):
                self._request = None  # a limited request had no effect
            self._free(slots)
            if isinstance(failure, APIError):
                self._stopping.wait(min(failure.retry_after or 0, LONGEST_PAUSE_SECONDS))
            self._pause(min(FAILURE_PAUSE_SECONDS, self._lease_seconds / 10))
            return
        self._request = None
        for job in jobs:
            self._begin(job, request.began)
        self._free(slots - len(jobs))
        if not jobs and time.monotonic() - request.began < self._poll / 2:
            self._pause(EMPTY_PAUSE_SECONDS)

    def _take_slots(self) -> int:
        """Take all free slots; return how many, or 0 if none becomes free soon."""
        if not self._free_slots.acquire(timeout=0.5):
            return 0
        taken = 1
        while taken < self._concurrency and self._free_slots.acquire(blocking=False):
            taken += 1
        return taken

    def _free(self, slots: int) -> None:
        for _ in range(slots):
            self._free_slots.release()

    def _claim(self, request: "_ClaimRequest") -> Sequence[Job]:
        return self._api.claim(
            self.worker_id,
            job_types=self._job_types,
            domains=self._domains,
            limit=request.limit,
            lease_seconds=self._lease_seconds,
            wait_seconds=self._poll,
            idempotency_key=request.key,
        )

    def _begin(self, job: Job, claimed_at: float) -> None:
        lease = Lease(self._api, job, self._lease_seconds, claimed_at)
        if self._stopping.is_set() or lease.verdict is not None:  # or the answer took too long
            with suppress(ScrapeJobsError):  # the lease expires otherwise
                lease.release()
            self._free(1)
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


@dataclass(frozen=True, slots=True)
class _ClaimRequest:
    """A claim, which is repeated with the same key until it is answered."""

    limit: int
    key: str
    began: float = field(default_factory=time.monotonic)


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
        self._report_right = threading.Lock()  # taken by the one that reports the end
        self.thread = threading.Thread(target=self._work, name=f"job {lease.job.id}", daemon=True)

    def interrupt(self) -> None:
        """Make the handler end, so that its job is given back."""
        self._lease.interrupt(Released("The worker shuts down"))

    def give_back(self) -> threading.Thread:
        """Give the job back, in a thread, although the handler has not ended."""
        thread = threading.Thread(target=self._report, args=(HandlerRun("released"),), daemon=True)
        thread.start()
        return thread

    def _work(self) -> None:
        self._lease.start()
        try:
            run = run_in_process if self._isolate == "process" else run_in_thread
            self._report(run(self._handler, self._lease))
        finally:
            self._lease.end()
            self._on_end(self)

    def _report(self, result: HandlerRun) -> None:
        """Report the end of the run, unless that is done already."""
        if not self._report_right.acquire(blocking=False):
            return
        self._lease.end()
        job_id = self._lease.job.id
        try:
            result.report(self._lease)
            log.info("job %s: %s", job_id, result.text)
        except ScrapeJobsError as failure:
            log.error("job %s: the result could not be reported: %s", job_id, failure)


def _join(threads: Iterable[threading.Thread], seconds: float) -> None:
    """Wait until all threads have ended, for at most `seconds` in total."""
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


class _Signals:
    """Calls a function with the name of SIGTERM or SIGINT; only the main thread handles signals."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify
        self._previous: Mapping[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGTERM, signal.SIGINT)
            self._previous = {n: signal.signal(n, self._handle) for n in numbers}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            # None stands for a handler that was not set by Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._notify(signal.Signals(number).name)
