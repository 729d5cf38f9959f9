"""One try to deliver a webhook: how long it may take, and the socket by which it can be ended."""

import socket
import time
from dataclasses import dataclass, field

DEADLINE_SECONDS = 10.0


@dataclass(slots=True)
class Attempt:
    """A try under way.

    Attributes:
        ends_at: When its time is over, on the clock of `time.monotonic`.
        handle: A duplicate of the socket that it uses, or None while it has none.
    """

    ends_at: float = field(default_factory=lambda: time.monotonic() + DEADLINE_SECONDS)
    handle: socket.socket | None = None

    @property
    def is_overdue(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() >= self.ends_at

    def end(self) -> None:
        """End it: reading from its socket gives an end of file from now on."""
        if self.handle is not None:
            try:
                self.handle.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is over already
