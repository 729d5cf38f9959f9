"""Waiting for a job: the event stream of the service, or conditional polling without it."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from scrape_jobs.caller import Caller
from scrape_jobs.errors import (
    APIError,
    ConnectionFailed,
    DeadlineExceeded,
    NotFound,
    ServerError,
    TooManyRequests,
)
from scrape_jobs.events import parse_events
from scrape_jobs.jobs import Job
from scrape_jobs.transport import NoAnswer

LONG_POLL_SECONDS = 20
"""The longest wait that the service allows for one request."""

POLL_SECONDS = 2.0
"""Pause between two polls of a service that does not wait itself, and before a new stream."""

LIMIT_PAUSE_SECONDS = 60.0
"""The longest pause after a rate limit: the limits of the service are for one minute."""

SILENCE_SECONDS = 40.0
"""A stream that sends nothing for this long is broken: the service sends a comment every 15 s."""


def wait_for_end(caller: Caller, path: str, seconds: float | None) -> Job:
    """Return the job at `path` as soon as it is over.

    Args:
        caller: Calls the API.
        path: The path of the job.
        seconds: How long to wait; None waits without a limit.

    Raises:
        DeadlineExceeded: The job is not over in time, or the service cannot be reached until then.
        NotFound: The job does not exist.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        started = time.monotonic()
        job, pause = None, POLL_SECONDS
        try:
            job = _poll_for_end(caller, path, deadline)
        except TooManyRequests as limit:
            pause = min(limit.retry_after or POLL_SECONDS, LIMIT_PAUSE_SECONDS)
        except (ConnectionFailed, ServerError):
            pass  # an outage: only the deadline of the caller ends the wait
        if job is not None and job.is_over:
            return job
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            state = f"is {job.status}" if job is not None else "could not be read"
            raise DeadlineExceeded(f"The job {state} after {seconds:g} s")
        # A service that answered at once does not hold requests at the moment.
        left = max(0.0, pause - (now - started))
        time.sleep(left if deadline is None else min(left, deadline - now))


def _poll_for_end(caller: Caller, path: str, deadline: float | None) -> Job:
    """Return the job when it is over or the request's wait ends."""
    left = LONG_POLL_SECONDS if deadline is None else deadline - time.monotonic()
    wait = max(0, min(LONG_POLL_SECONDS, int(left)))
    result = caller.call(
        "GET",
        path,
        query={"wait_seconds": wait, "until": "final"} if wait else None,
        extra_seconds=wait,
        deadline=deadline,
    )
    return Job.from_json(result.document["data"], result.etag)


def watch(caller: Caller, path: str) -> Iterator[Job]:
    """Yield the job at `path` now and after each change, until it is over.

    Raises:
        NotFound: The job does not exist.
    """
    watcher = _Watcher(caller, path)
    while True:
        for job in watcher.changes():
            yield job
            if job.is_over:
                return
        time.sleep(POLL_SECONDS)


class _Watcher:
    """Reads the changes of one job, from the stream or by polling."""

    def __init__(self, caller: Caller, path: str) -> None:
        self._caller = caller
        self._path = path
        self._etag: str | None = None
        self._version = 0
        self._position: str | None = None
        self._known: Mapping[str, Any] = {}

    def changes(self) -> Iterator[Job]:
        """Yield changes until the stream ends; without a stream, at most one.

        The job is read before each stream begins, so that no change between two streams is missed.
        """
        yield from self._poll()
        try:
            yield from self._stream()
        except NotFound:
            raise
        except (APIError, NoAnswer):
            return  # no stream is free, or the connection broke

    def _poll(self) -> Iterator[Job]:
        headers = {"If-None-Match": self._etag} if self._etag else {}
        try:
            result = self._caller.call("GET", self._path, headers=headers)
        except (ConnectionFailed, ServerError, TooManyRequests):
            return
        if result.status == 304:
            return
        self._etag = result.etag
        yield from self._new(result.document["data"], result.etag)

    def _stream(self) -> Iterator[Job]:
        headers = {"Accept": "text/event-stream"}
        if self._position:
            headers["Last-Event-ID"] = self._position
        with self._caller.stream(
            f"{self._path}/events", query={}, headers=headers, seconds=SILENCE_SECONDS
        ) as parts:
            for event in parse_events(parts):
                self._position = event.id or self._position
                if event.type == "job":
                    yield from self._changed(event.data)
                elif event.type in ("ready", "resync"):
                    yield from self._poll()

    def _new(self, document: Mapping[str, Any], etag: str | None = None) -> Iterator[Job]:
        """Yield the job, unless it is known: the stream repeats what was read before it began."""
        if document != self._known:
            self._known = document
            yield Job.from_json(document, etag)

    def _changed(self, data: str) -> Iterator[Job]:
        frame: dict[str, Any] = json.loads(data)
        if frame["version"] > self._version:
            self._version = frame["version"]
            self._etag = None
            yield from self._new(frame["job"])


def status_changes(
    caller: Caller, filters: Mapping[str, str | None]
) -> Iterator[Mapping[str, Any]]:
    """Yield the frame of each status change from now on, without an end.

    After an interruption the stream goes on where it ended.

    Args:
        caller: Calls the API.
        filters: Query parameters of the stream; those with the value None are left out.

    Raises:
        APIError: The service refuses the stream for good, for example because of the key.
    """
    position: str | None = None
    while True:
        headers = {"Accept": "text/event-stream"}
        if position:
            headers["Last-Event-ID"] = position
        try:
            with caller.stream(
                "/api/scrape-jobs/events", query=filters, headers=headers, seconds=SILENCE_SECONDS
            ) as parts:
                for event in parse_events(parts):
                    position = event.id or position
                    if event.type == "job":
                        frame: Mapping[str, Any] = json.loads(event.data)
                        if frame["old_status"] not in (None, frame["new_status"]):
                            yield frame
        except (ServerError, TooManyRequests, NoAnswer):
            pass  # no stream is free, or the connection broke
        time.sleep(POLL_SECONDS)
