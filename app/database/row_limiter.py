"""A limit on the threads of a process that work on the same row of the database at a time.

A transaction of another program, or an open one in psql, may lock a row for a long time. Each
request that changes the row waits for the lock. Without a limit, the requests for that one row soon
occupy all threads of the process.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

from app.errors import LockTimeout, ScrapeJobError

PATIENCE_SECONDS = 1.0
"""After this time in a place, a request is assumed to wait for a lock.

Further requests for the row are then refused instead of waiting for a place.
"""

P = ParamSpec("P")
R = TypeVar("R")
Row = TypeVar("Row")


class RowLimiter:
    """Limits the threads that work on one row at a time to `places`. A row has any hashable key."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._changed = threading.Condition(threading.Lock())
        self._entered: dict[object, list[float]] = {}
        self._waiting = 0

    @contextmanager
    def at(self, row: object, refusal: type[ScrapeJobError] = LockTimeout) -> Iterator[None]:
        """Wait for a place at `row`, and occupy it during the block.

        Raises:
            refusal: if no place becomes free and the row seems to be locked.
        """
        entered = self._enter(row, refusal)
        try:
            yield
        finally:
            self._leave(row, entered)

    def _enter(self, row: object, refusal: type[ScrapeJobError]) -> float:
        with self._changed:
            while len(places := self._entered.setdefault(row, [])) >= self.places:
                seconds = min(places) + PATIENCE_SECONDS - time.monotonic()
                if seconds <= 0:
                    raise refusal
                self._wait(seconds)
            now = time.monotonic()
            places.append(now)
            return now

    def _wait(self, seconds: float) -> None:
        self._waiting += 1
        try:
            self._changed.wait(seconds)
        finally:
            self._waiting -= 1

    def _leave(self, row: object, entered: float) -> None:
        with self._changed:
            places = self._entered[row]
            places.remove(entered)
            if not places:
                del self._entered[row]
            if self._waiting:
                self._changed.notify_all()


ROW_LIMITER = RowLimiter(2)
"""The limit of this process. The application sets `places` to half of its threads."""


def limited_per_row(work: Callable[Concatenate[Row, P], R]) -> Callable[Concatenate[Row, P], R]:
    """Decorate a function that changes the row in its first argument to use `ROW_LIMITER`.

    Do not call the function while the caller's own transaction has the row locked: the threads in
    the places may wait for that transaction.
    """

    @functools.wraps(work)
    def in_turn(row: Row, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with ROW_LIMITER.at(row):
            return work(row, *args, **kwargs)

    return in_turn
