"""The log of the changes of jobs: a part of their request's line, or lines of their own."""

import logging
from collections.abc import Sequence
from contextvars import ContextVar
from typing import NamedTuple

log = logging.getLogger("app.jobs")


class LoggedChange(NamedTuple):
    """A committed change of a job, as the log shows it.

    Attributes:
        action: The action of the event, such as ``updated``.
        job_id: The id of the job.
        old_status: The status before the change; None for a new job.
        new_status: The status after the change.
        actor: The id of the API key, or the type of an actor without one.
        request_id: The id of the request; None if none caused the change.
    """

    action: str
    job_id: str
    old_status: str | None
    new_status: str
    actor: str
    request_id: str | None

    def write(self) -> None:
        """Log the change in a line of its own."""
        facts = self._asdict()
        log.info("job %s", facts.pop("action"), extra=facts)


_of_request: ContextVar[list[LoggedChange] | None] = ContextVar("changes", default=None)


def collect_changes() -> Sequence[LoggedChange]:
    """Collect the changes of the current request, until `stop_collecting`, instead of logging them.

    Returns:
        The changes so far; the list grows.
    """
    changes: list[LoggedChange] = []
    _of_request.set(changes)
    return changes


def stop_collecting() -> None:
    """Log each further change in a line of its own again."""
    _of_request.set(None)


def log_change(change: LoggedChange) -> None:
    """Log a committed change with the current request, or by itself outside of requests."""
    changes = _of_request.get()
    if changes is None:
        change.write()
    else:
        changes.append(change)
