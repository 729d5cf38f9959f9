"""The number of event streams that a process serves at a time."""

import threading

from app.errors import TooManyStreams
from app.observability.metrics import STREAMS_LIMIT, STREAMS_OPEN


class StreamSlots:
    """Slots for event streams. Each stream occupies a thread, so their number is limited."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = threading.Semaphore(limit)
        STREAMS_LIMIT.set(limit)

    def take(self) -> None:
        """Take a slot without waiting. Raises TooManyStreams if none is free."""
        if not self._free.acquire(blocking=False):
            raise TooManyStreams(self._limit)
        STREAMS_OPEN.inc()

    def give_back(self) -> None:
        """Make the slot free for another stream."""
        STREAMS_OPEN.dec()
        self._free.release()
