"""The reports of one running job: heartbeats, progress and the result, with or without a lease.

One thread for each job sends everything, so that a late report cannot overwrite a newer one.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from scrape_jobs.errors import (
    APIError,
    ConnectionFailed,
    InvalidRequest,
    LeaseLost,
    NotFound,
    ScrapeJobsError,
    ServerError,
    TooManyRequests,
    TransitionRefused,
)
from scrape_jobs.jobs import Job
from scrape_jobs.outcomes import Cancelled
from scrape_jobs.retrying import NO_RETRY, RetryPolicy

if TYPE_CHECKING:
    from scrape_jobs.client import ScrapeJobs

log = logging.getLogger(__name__)

REPORT_SECONDS = 2.0
"""Minimum time between two progress reports of one job."""

RETRY_SECONDS = 1.0
"""Pause after a heartbeat or report that failed."""

MARGIN = 0.1
"""The part of a lease that must be left when a handler is interrupted because of it."""

TEMPORARY = (ConnectionFailed, ServerError, TooManyRequests)
"""Failures that may pass before the lease ends."""


class Lease:
    """Keeps the lease of one job, from the claim to the final report.

    A job without a lease token is reported in the same way. Instead of heartbeats the job is read,
    to notice a cancel.

    Attributes:
        job: The job as it was claimed.
    """

    def __init__(
        self,
        api: "ScrapeJobs",
        job: Job,
        seconds: float,
        claimed_at: float,
        may_extend: Callable[[], bool] = lambda: True,
    ) -> None:
        """Keep the lease of `job`.

        Args:
            api: Calls the service.
            job: The claimed job, with its lease token.
            seconds: The length of the lease.
            claimed_at: The time of `time.monotonic` before the claim was sent: the service counts
                the lease from a later moment, so the client never relies on it for too long.
            may_extend: Whether the program still works on the job. While it returns False, no
                heartbeat is sent.
        """
        self.job = job
        # A lease is short: reports have shorter timeouts and pauses than other calls.
        self._api = api.with_options(
            timeout=(2.0, max(1.0, min(10.0, seconds / 3))),
            retry=RetryPolicy(max_seconds=RETRY_SECONDS),
        )
        self._quick_api = self._api.with_options(retry=NO_RETRY)
        self._token = job.lease_token
        self._seconds = seconds
        self._may_extend = may_extend
        self._held_until = claimed_at + seconds if job.lease_token else math.inf
        self._sent_at = claimed_at
        self._stats: dict[str, Any] = dict(job.stats)
        self._has_news = False
        self._verdict: ScrapeJobsError | None = None
        self._margin = seconds * MARGIN
        self._changed = threading.Condition()
        self._is_ended = False
        self._thread = threading.Thread(target=self._keep, name=f"lease {job.id}", daemon=True)

    @property
    def stats(self) -> dict[str, Any]:
        """The statistics that were reported so far."""
        with self._changed:
            return dict(self._stats)

    @property
    def verdict(self) -> ScrapeJobsError | None:
        """The reason for which the handler is to end: Cancelled, LeaseLost, Released; or None.

        The clock is read here, too: a heartbeat may hang for longer than the lease lasts.
        """
        if self._verdict is None and time.monotonic() >= self._held_until - self._margin:
            self.interrupt(_lost("The lease could not be extended in time"))
        return self._verdict

    def start(self) -> None:
        """Start to send heartbeats."""
        self._thread.start()

    def report(self, stats: Mapping[str, Any]) -> None:
        """Merge `stats` into the job's statistics; they are sent soon.

        Raises:
            ScrapeJobsError: The verdict, if there is one.
        """
        with self._changed:
            self._stats.update(stats)
            self._has_news = True
            self._changed.notify()
        self.check()

    def merge(self, stats: Mapping[str, Any]) -> None:
        """Merge `stats` into the job's statistics, for the final report."""
        with self._changed:
            self._stats.update(stats)
            self._has_news = True

    def check(self) -> None:
        """Raise the verdict, if there is one."""
        verdict = self.verdict
        if verdict is not None:
            raise verdict

    def interrupt(self, verdict: ScrapeJobsError) -> None:
        """Make `report` and `check` raise `verdict`, unless there is an earlier one."""
        with self._changed:
            self._verdict = self._verdict or verdict
            self._changed.notify()

    def end(self) -> None:
        """Stop the heartbeats. When it returns, no request of this lease is under way."""
        with self._changed:
            self._is_ended = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    # The final reports; each needs `end` before.

    def complete(self, stats: Mapping[str, Any]) -> None:
        """Report that the job is completed, with `stats` merged into its statistics."""
        self._finish(status="completed", stats={**self._stats, **stats})

    def fail(self, message: str, *, for_good: bool) -> None:
        """Report that the attempt failed.

        Args:
            message: The error message.
            for_good: Whether the retries are used up, too.
        """
        further = {"retry_count": self.job.max_retries} if for_good else {}
        self._finish(status="failed", error_message=message, stats=self._stats, **further)

    def retry(self, message: str, delay_seconds: float | None) -> None:
        """Report that the attempt failed, and send the job back to pending. Needs a lease."""
        token = self._required_token()
        try:
            self._until_success(
                lambda: self._api.give_up(self.job.id, token, message, delay_seconds)
            )
        except TransitionRefused as refusal:
            log.info("job %s stays failed: %s", self.job.id, refusal.details or refusal.error)

    def release(self) -> None:
        """Give the job back without counting a retry. Needs a lease."""
        token = self._required_token()
        self._until_success(lambda: self._api.release(self.job.id, token))

    def acknowledge_cancel(self) -> None:
        """Send the last statistics of a cancelled job, if the service still accepts them."""
        if self._has_news:
            # A report that was answered with the cancellation was the last one.
            with suppress(LeaseLost):
                self._update(stats=self._stats)

    def _finish(self, **fields: Any) -> None:
        try:
            self._update(**fields)
        except TransitionRefused:
            # The job was cancelled in the meantime. The token is good for a last report.
            self._update(stats=fields["stats"])
        except InvalidRequest as refusal:  # statistics that are too large, for example
            log.error("job %s: the result is refused: %s", self.job.id, refusal)
            message = fields.get("error_message") or f"The result is refused: {refusal.error}"
            self._update(status="failed", error_message=message)

    def _update(self, **fields: Any) -> None:
        self._until_success(
            lambda: self._api.update(self.job.id, lease_token=self._token, **fields)
        )

    def _until_success(self, send: Callable[[], object]) -> None:
        """Call `send` again and again during an outage, for the length of the lease.

        The token protects the job if another worker has it by then.
        """
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                send()
            except TEMPORARY as failure:
                if time.monotonic() + RETRY_SECONDS >= deadline:
                    raise
                log.warning("job %s: the result is not reported yet: %s", self.job.id, failure)
                time.sleep(RETRY_SECONDS)
            else:
                return

    def _required_token(self) -> str:
        assert self._token is not None, "the job has no lease"
        return self._token

    # The thread

    def _keep(self) -> None:
        """Send heartbeats and reports until the lease ends or there is a verdict."""
        while self._wait_until_due():
            sent_at = time.monotonic()
            try:
                job = self._send() if self._may_extend() else None
            except TEMPORARY as failure:
                self._after_failure(failure)
            except APIError as refusal:
                lost = isinstance(refusal, (LeaseLost, NotFound))
                self.interrupt(refusal if not lost else _lost(refusal.error))
            else:
                self._sent_at = sent_at
                if job is None:
                    continue
                if self._token is not None:
                    self._held_until = sent_at + self._seconds
                if job.status == "cancelled":
                    self.interrupt(Cancelled(job.error_message or "The job was cancelled"))

    def _wait_until_due(self) -> bool:
        """Wait until a heartbeat or report is due; return False at the end."""
        with self._changed:
            while not self._is_ended and self.verdict is None:
                pause = REPORT_SECONDS if self._has_news else self._seconds / 3
                left = self._sent_at + pause - time.monotonic()
                if left <= 0:
                    return True
                self._changed.wait(left)
            return False

    def _send(self) -> Job:
        with self._changed:
            stats = dict(self._stats) if self._has_news else None
            self._has_news = False
        if stats is None:
            if self._token is None:
                return self._quick_api.get(self.job.id, required=True)
            return self._quick_api.heartbeat(self.job.id, self._token)
        try:
            return self._quick_api.update(self.job.id, stats=stats, lease_token=self._token)
        except TEMPORARY:
            with self._changed:
                self._has_news = True
            raise

    def _after_failure(self, failure: ScrapeJobsError) -> None:
        """Wait for the next attempt, or until the lease is lost."""
        log.warning("job %s: no heartbeat: %s", self.job.id, failure)
        with self._changed:
            if not self._is_ended and self._verdict is None:
                left = self._held_until - self._margin - time.monotonic()
                self._changed.wait(max(0.0, min(RETRY_SECONDS, left)))


def _lost(reason: str) -> LeaseLost:
    return LeaseLost(409, "Lease lost", None if reason == "Lease lost" else reason)
