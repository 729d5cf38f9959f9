"""One attempt to deliver a webhook: its deadline, its socket, and the receiver's response."""

import socket
import time
from dataclasses import dataclass, field

DEADLINE_SECONDS = 10.0


@dataclass(slots=True)
class Attempt:
    """An attempt in progress.

    Attributes:
        ends_at: The deadline, on the clock of `time.monotonic`.
        handle: A duplicate of the socket in use, or None before the connection is made.
    """

    ends_at: float = field(default_factory=lambda: time.monotonic() + DEADLINE_SECONDS)
    handle: socket.socket | None = None

    @property
    def is_overdue(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.ends_at

    def end(self) -> None:
        """Shut the socket down, so that reading from it returns the end of the file at once."""
        if self.handle is not None:
            try:
                self.handle.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # the connection has ended already


@dataclass(frozen=True, slots=True)
class ReceiverResponse:
    """The response to an attempt, or the error that took its place.

    Attributes:
        status_code: The status code, or None without a complete response.
        body: The beginning of the body.
        error: The reason for a missing response, or None.
        retry_after: The Retry-After header, or None.
        seconds: The duration of the attempt.
    """

    status_code: int | None
    body: str
    error: str | None
    retry_after: str | None
    seconds: float
