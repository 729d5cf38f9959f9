"""The status changes of all jobs as they happen, which webhooks report, from the event stream."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scrape_jobs.caller import EVENT_STREAM, Caller
from scrape_jobs.errors import ConnectionFailed, NotFound
from scrape_jobs.events import parse_events
from scrape_jobs.jobs import Event, Job, Status
from scrape_jobs.lease import TEMPORARY
from scrape_jobs.transport import NoAnswer
from scrape_jobs.watching import POLL_SECONDS, SILENCE_SECONDS

PATH = "/api/scrape-jobs/events"

History = Callable[[str], Iterable[Event]]
"""Returns the events of the job with an id."""


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One status change of a job.

    Attributes:
        job: The job as it was when the stream reported the change, or a later one of that second.
        number: The number of the change in the history of the job.
        at: The time of the change (ISO 8601).
    """

    job: Job
    number: int
    at: str
    old_status: Status
    new_status: Status


def status_changes(
    history: History,
    caller: Caller,
    filters: Mapping[str, Any],
    notify: Callable[[str], None],
) -> Iterator[StatusChange]:
    """Yield each status change from now on, without an end.

    After an interruption the stream goes on where it ended.

    Args:
        history: Returns the events of a job.
        caller: Opens streams.
        filters: Query parameters of the stream; those with the value None are left out.
        notify: Is called with a text when the stream is open or interrupted, or when changes were
            missed.

    Raises:
        APIError: The service refuses the stream for good, or at the beginning.
        ConnectionFailed: The service cannot be reached at the beginning.
    """
    reader = _ChangeReader(history)
    position: str | None = None
    was_open = is_open = False
    while True:
        headers = {"Accept": EVENT_STREAM, **({"Last-Event-ID": position} if position else {})}
        try:
            with caller.stream(
                PATH, query=filters, headers=headers, seconds=SILENCE_SECONDS
            ) as parts:
                was_open = is_open = True
                for event in parse_events(parts):
                    position = event.id or position
                    if event.type == "ready":
                        notify("Listening: the stream is open")
                    elif event.type == "job":
                        yield from reader.changes(json.loads(event.data))
                    elif event.type == "resync":
                        notify("Changes were missed: the interruption was too long")
        except (NoAnswer, *TEMPORARY) as failure:
            if not was_open:
                if isinstance(failure, NoAnswer):
                    raise ConnectionFailed(f"GET {caller.base_url}{PATH}: {failure}") from failure
                raise
            if is_open:
                notify(f"The stream is interrupted and will be opened again: {failure}")
            is_open = False
        time.sleep(POLL_SECONDS)


class _ChangeReader:
    """Separates the status changes of a frame, which covers all changes of about a second."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._known: dict[str, tuple[int, Status | None]] = {}

    def changes(self, frame: Mapping[str, Any]) -> Sequence[StatusChange]:
        """Return the new status changes that a frame of the stream covers, oldest first."""
        job, version = Job.from_json(frame["job"]), frame["version"]
        old, new = frame["old_status"], frame["new_status"]
        is_known = job.id in self._known or old is None
        known_version, known_status = self._known.get(job.id, (0, old))
        if version <= known_version:
            return ()  # the stream repeats it
        self._known[job.id] = (version, new)
        # A stream that was resumed repeats changes, so the old status may be an earlier one.
        whole = _change(job, frame, known_status)
        if known_version == version - 1 or (not is_known and whole is None):
            return [whole] if whole else ()
        found = self._from_history(job, known_version, version)
        if not is_known:
            found = _since(found, old)
        return found or ([whole] if whole else ())

    def _from_history(self, job: Job, after: int, version: int) -> list[StatusChange]:
        try:
            return [
                StatusChange(
                    job, event.id, event.document["at"], event.old_status, event.new_status
                )
                for event in self._history(job.id)
                if after < event.id <= version and event.old_status not in (None, event.new_status)
            ]
        except (NotFound, *TEMPORARY):
            return []


def _change(job: Job, frame: Mapping[str, Any], old: Status | None) -> StatusChange | None:
    """Return the change of a frame as one, or None if the status is the same."""
    new = frame["new_status"]
    if old in (None, new):
        return None
    return StatusChange(job, frame["version"], frame["at"], old, new)


def _since(changes: list[StatusChange], status: Status) -> list[StatusChange]:
    """Return the last changes that begin with `status`."""
    starts = [n for n, change in enumerate(changes) if change.old_status == status]
    return changes[starts[-1] :] if starts else []
