"""A connection of the driver's on which no wait for the server is without end.

The server's own timeouts do not help against a server that is frozen, or a disk that stands still
under it.
"""

import select
import time
from typing import Any

import psycopg2
from psycopg2 import extensions

from app.database.database_url import Host


class AnswerTimedOut(psycopg2.OperationalError):
    """The server did not answer in time; the connection is closed."""


class BoundedConnection(extensions.connection):
    """A connection on which a wait for the server takes at most `patience` seconds; None waits for
    ever."""

    patience: float | None
    host: Host
    """The server that it leads to."""

    preamble: str = ""
    """SQL that has to go before each statement, for settings that the server did not take at the
    start."""

    def __init__(self, dsn: str, host: Host, patience: float) -> None:
        self.host = host
        self.patience = patience
        super().__init__(dsn)
        self.made_at = time.monotonic()


def bound_all_waits() -> None:
    """Make the driver wait by `BoundedConnection.patience`, on every connection of this process
    that has one."""
    extensions.set_wait_callback(_wait)


def _wait(connection: Any) -> None:
    """Wait for the server as psycopg2 would, but with a deadline where the connection has one."""
    patience = getattr(connection, "patience", None)
    deadline = None if patience is None else time.monotonic() + patience
    poll = select.poll()
    while (state := connection.poll()) != extensions.POLL_OK:
        poll.register(
            connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
        )
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poll.poll(left):
            raise AnswerTimedOut("the server's answer timed out")
