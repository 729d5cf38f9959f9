"""The calls that wait for jobs and watch them."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

from scrape_jobs.caller import Caller
from scrape_jobs.jobs import Event, Job
from scrape_jobs.messages import document_of, path_of
from scrape_jobs.status_changes import StatusChange, status_changes
from scrape_jobs.watching import wait_for_end, watch

log = logging.getLogger(__name__)


class WaitingCalls:
    """The calls that wait for jobs and watch them."""

    _caller: Caller
    history: Callable[..., Iterator[Event]]

    def wait(self, job_id: str, *, deadline: float | None = None) -> Job:
        """Wait until a job is completed, failed or cancelled, and return it.

        Args:
            job_id: The id of the job.
            deadline: Maximum number of seconds to wait; None waits without a limit.

        Raises:
            DeadlineExceeded: The job is not over in time.
            NotFound: The job does not exist.
        """
        return wait_for_end(self._caller, path_of(job_id), deadline)

    def watch(self, job_id: str) -> Iterator[Job]:
        """Yield a job now and after each change, until it is completed, failed or cancelled.

        It reads the service's event stream. While no stream is available, it polls. Changes
        within one second may come as one.

        Raises:
            NotFound: The job does not exist.
            ConnectionFailed: The service cannot be reached at the beginning. A later outage
                raises nothing: the watch goes on when the service is back.
        """
        return watch(self._caller, path_of(job_id))

    def status_changes(
        self, *, notify: Callable[[str], None] = log.warning, **filters: Any
    ) -> Iterator[StatusChange]:
        """Yield each status change of the jobs that match, from now on and without an end.

        After an interruption it goes on where it ended.

        Args:
            notify: Is called with a text when the stream is open or interrupted, or when changes
                were missed.
            filters: The filters of `list`.

        Raises:
            ConnectionFailed: The service cannot be reached at the beginning.
            ServerError: No stream is free at the beginning.
        """
        return status_changes(self.history, self._caller, document_of(filters), notify)
