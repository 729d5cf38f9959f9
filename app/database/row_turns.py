"""Turns at a row: how many threads of a process may wait for the same row of the database at a
time.

A row may be locked for long, by a person's open transaction or a slow one of another program, and
each request that changes it waits for the lock. Without a limit, requests for that one row soon
hold every thread of the process.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

from app.errors import LockTimeout, ScrapeJobError

PATIENCE_SECONDS = 1.0
"""How long a request may hold its place before the row counts as locked, and no further request
waits for a place."""

P = ParamSpec("P")
R = TypeVar("R")
Row = TypeVar("Row")


class Turns:
    """Lets at most `places` threads work on one row at a time, whatever the row's key is."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._changed = threading.Condition(threading.Lock())
        self._entered: dict[object, list[float]] = {}
        self._waiting = 0

    @contextmanager
    def at(self, row: object, refusal: type[ScrapeJobError] = LockTimeout) -> Iterator[None]:
        """Do the work inside in a place at `row`, once there is one.

        Raises `refusal` where none becomes free and the row seems to be locked.
        """
        entered = self._enter(row, refusal)
        try:
            yield
        finally:
            self._leave(row, entered)

    def _enter(self, row: object, refusal: type[ScrapeJobError]) -> float:
        with self._changed:
            while len(places := self._entered.setdefault(row, [])) >= self.places:
                left = min(places) + PATIENCE_SECONDS - time.monotonic()
                if left <= 0:
                    raise refusal
                self._wait(left)
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


TURNS = Turns(2)
"""Those of this process. The application sets `places` to half of its threads."""


def one_row(work: Callable[Concatenate[Row, P], R]) -> Callable[Concatenate[Row, P], R]:
    """Make a function that changes the row named by its first argument take its turn there.

    It must not be called with the row locked by the caller's own transaction, for which those in
    the places may wait.
    """

    @functools.wraps(work)
    def in_turn(row: Row, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with TURNS.at(row):
            return work(row, *args, **kwargs)

    return in_turn
