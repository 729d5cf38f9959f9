"""Requests that wait for work: how many may, how they hear of it, and when they stop."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.5
"""How often a waiting request looks by itself: work may come by another process, or with time."""


class WaitingRoom:
    """Holds at most `places` requests of this process at a time; `closed` tells that the process is
    to end."""

    def __init__(self, places: int, closed: Callable[[], bool]) -> None:
        self._places = threading.Semaphore(places)
        self._closed = closed
        self._news = threading.Condition()
        self._count = 0

    def announce(self) -> None:
        """Let everybody look again at once: there may be work."""
        with self._news:
            self._count += 1
            self._news.notify_all()

    def wait(
        self, attempt: Callable[[bool], T | None], seconds: float, is_gone: Callable[[], bool]
    ) -> T | None:
        """Return what `attempt` returns as soon as it is something, trying again for `seconds`.

        `attempt` is told whether it is the last one; where no place is free it is the first, too.
        None comes back where the last one found nothing, or where nobody waits for an answer any
        more.
        """
        if seconds <= 0 or not self._places.acquire(blocking=False):
            return attempt(True)
        try:
            deadline = time.monotonic() + seconds
            while not is_gone():
                seen = self._count
                last = self._closed() or time.monotonic() >= deadline
                found = attempt(last)
                if found is not None or last:
                    return found
                self._wait_for_news(seen, deadline)
            return None
        finally:
            self._places.release()

    def _wait_for_news(self, seen: int, deadline: float) -> None:
        with self._news:
            seconds = min(POLL_SECONDS, max(deadline - time.monotonic(), 0))
            self._news.wait_for(lambda: self._count != seen, seconds)
