"""An open event stream: the frames that wait to be sent to its client.

The reader of the log offers changes, and the thread of the stream takes the frames to send.
"""

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from app.live import positions
from app.live.changes import JobChange, signal_frame, with_id
from app.live.selection import Selection

MAX_WAITING_BYTES = 8 * 1024 * 1024
"""A client that is further behind than this gets ``resync`` instead of the frames."""

MAX_SENDING_SECONDS = 30.0
"""A client that takes no bytes for this time loses its connection."""


class Stream:
    """The frames of one client.

    Each frame but the last of an offer carries the position before the offer. So a client that
    loses its connection between two frames gets the second one again.
    """

    def __init__(self, selection: Selection, position: datetime) -> None:
        """Make a stream that keeps offered changes until `begin` is called."""
        self.selection = selection
        self._position = position
        self._changed = threading.Condition(threading.Lock())
        self._kept: list[tuple[Sequence[JobChange], datetime]] | None = []
        self._frames: list[bytes] = []
        self._bytes = 0
        self._is_too_slow = False
        self._versions: dict[UUID, int] = {}
        self._sending_since: float | None = None

    def begin(self, changes: Sequence[JobChange], position: datetime) -> None:
        """Send `changes`, which lead to `position`, and then the changes offered meanwhile."""
        with self._changed:
            kept, self._kept = self._kept or [], None
            self._add(changes, position)
            self._versions = {change.job.id: change.job.version for change in changes}
            for offer in kept:
                self._add(*offer)

    def offer(self, changes: Sequence[JobChange], position: datetime) -> None:
        """Add the frames of the changes that the stream shows. They lead to `position`."""
        with self._changed:
            if self._kept is not None:
                self._kept.append((changes, position))
            elif not self._is_too_slow:
                self._add(changes, position)
                if self._frames:
                    self._changed.notify()

    def _add(self, changes: Sequence[JobChange], position: datetime) -> None:
        before, self._position = self._position, max(self._position, position)
        shown = [change for change in changes if self._shows(change)]
        for change in shown:
            frame = change.frame(self.selection.fields)
            place = self._position if change is shown[-1] else before
            self._frames.append(with_id(positions.encode(place), frame))
            self._bytes += len(frame)
        if self._bytes > MAX_WAITING_BYTES:
            self._is_too_slow = True
            self._frames = [with_id(positions.encode(self._position), signal_frame("resync"))]

    def _shows(self, change: JobChange) -> bool:
        known = self._versions.get(change.job.id, 0)
        return change.job.version > known and self.selection.includes(change)

    def take(self, seconds: float) -> bytes:
        """Return the waiting frames; wait for some, but at most `seconds`."""
        with self._changed:
            if not self._frames:
                self._changed.wait(seconds)
            taken, self._frames, self._bytes = self._frames, [], 0
            return b"".join(taken)

    def here(self, frame: bytes) -> bytes:
        """Return a frame with the position after everything that was taken.

        Nothing must wait to be taken, or a client that resumes there would miss it.
        """
        with self._changed:
            return frame if self._frames else with_id(positions.encode(self._position), frame)

    @property
    def is_too_slow(self) -> bool:
        """Whether the client is too far behind; the stream ends with ``resync``."""
        return self._is_too_slow

    def starts_sending(self) -> None:
        """Note that the thread of the stream may now wait for the client."""
        self._sending_since = time.monotonic()

    def has_sent(self) -> None:
        """Note that the client's connection has taken everything."""
        self._sending_since = None

    def is_stuck(self, seconds: float = MAX_SENDING_SECONDS) -> bool:
        """Return whether the thread of the stream has waited for the client for this time."""
        since = self._sending_since
        return since is not None and time.monotonic() - since > seconds
