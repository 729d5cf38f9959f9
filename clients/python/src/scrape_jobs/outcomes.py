"""The ways in which a handler ends early."""

from scrape_jobs.errors import ScrapeJobsError


class Retry(Exception):
    """Raise it in a handler to fail the attempt and to send the job back to pending.

    The retry counts; without a retry left the job stays failed.

    Attributes:
        delay: Seconds until the job is due again; None makes it due at once.
    """

    def __init__(
        self, message: str = "The handler asked for a retry", *, delay: float | None = None
    ) -> None:
        super().__init__(message)
        self.delay = delay


class Failed(Exception):
    """Raise it in a handler to fail the attempt with exactly this message.

    Any other exception fails the attempt, too, with its type and its message.
    """


class Fatal(Failed):
    """Raise it in a handler to fail the job for good: all its retries are used up."""


class Cancelled(ScrapeJobsError):
    """The job was cancelled. `job.progress` and `job.check` raise it in the handler."""


class Released(ScrapeJobsError):
    """The worker shuts down and gives the job back. `progress` and `check` raise it."""
