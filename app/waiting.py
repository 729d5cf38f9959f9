"""Requests that wait: for jobs to claim, or for a change of one job.

This module decides how many may wait, what wakes them, and when they stop.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.5
"""Interval at which a waiting request looks again without being notified: another process may have
changed a job, or a scheduled job may have become due."""


class NothingYet(Exception):
    """There is no result yet, and time is left. It rolls the attempt's transaction back."""


class WaitingRequests:
    """The requests of this process that wait.

    Each of them occupies a thread, therefore their number is limited.

    Args:
        max_waiting: How many requests may wait at a time.
        is_stopping: Returns whether this process is about to end. Requests then stop waiting.
    """

    def __init__(self, max_waiting: int, is_stopping: Callable[[], bool]) -> None:
        self._free_places = threading.Semaphore(max_waiting)
        self._is_stopping = is_stopping
        self._notified = threading.Condition()
        self._notifications = 0

    def notify(self) -> None:
        """Wake all waiting requests: there may be a job to claim."""
        with self._notified:
            self._notifications += 1
            self._notified.notify_all()

    def wait(
        self, attempt: Callable[[bool], T], seconds: float, is_disconnected: Callable[[], bool]
    ) -> T | None:
        """Call `attempt` until it returns a result, for at most `seconds`.

        Args:
            attempt: Looks for a result and returns it, or raises NothingYet. Its argument says
                whether it is the last attempt, which must return a result. The first attempt is
                the last one if too many requests wait already.
            seconds: How long to wait.
            is_disconnected: Returns whether the client has closed its connection.

        Returns:
            The result, or None if the client disconnected.
        """
        if seconds <= 0 or not self._free_places.acquire(blocking=False):
            return attempt(True)
        try:
            return self._repeat(attempt, time.monotonic() + seconds, is_disconnected)
        finally:
            self._free_places.release()

    def _repeat(
        self, attempt: Callable[[bool], T], deadline: float, is_disconnected: Callable[[], bool]
    ) -> T | None:
        while not is_disconnected():
            notifications = self._notifications
            is_last = self._is_stopping() or time.monotonic() >= deadline
            try:
                return attempt(is_last)
            except NothingYet:
                self._wait_for_notification(notifications, deadline)
        return None

    def _wait_for_notification(self, known: int, deadline: float) -> None:
        """Return after the next notification, or after POLL_SECONDS, or at the deadline."""
        with self._notified:
            seconds = min(POLL_SECONDS, max(deadline - time.monotonic(), 0))
            self._notified.wait_for(lambda: self._notifications != known, seconds)
