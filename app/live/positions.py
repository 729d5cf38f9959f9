"""Positions in the event log, which the ids of frames carry.

A position is a time. All changes before it were sent, and no further change before it can be
committed; see `app.jobs.resuming`. A client that resumes there misses nothing, and may get some
changes again.
"""

from datetime import datetime, timedelta
from functools import lru_cache

from app.errors import InvalidInput
from app.http import pagination

MAX_AGE = timedelta(hours=1)
"""The maximum age of a position to resume at. Reading the list again is cheaper than more."""

_NAME = "events"


@lru_cache(maxsize=64)  # the same for all streams of a process
def encode(position: datetime) -> str:
    """Return the text of a position; it is opaque to clients."""
    return pagination.encode(_NAME, (position,))


def decode(text: str, now: datetime) -> datetime | None:
    """Return the position, or None if it is unreadable or too old to resume at."""
    try:
        (position,) = pagination.decode(text[: pagination.MAX_CURSOR_LENGTH], _NAME, (datetime,))
    except InvalidInput:
        return None
    found: datetime = position
    return found if now - found <= MAX_AGE else None
