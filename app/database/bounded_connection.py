"""A database connection that limits the time of each wait for the server.

The timeouts of the server do not help if the server itself hangs, or its disk does.
"""

import select
import time
from typing import Any

import psycopg2
from psycopg2 import extensions

from app.database.database_url import Host


class AnswerTimedOut(psycopg2.OperationalError):
    """The server did not answer in time. The connection is closed."""


class BoundedConnection(extensions.connection):
    """A connection that waits at most `patience` seconds for each answer; None is no limit."""

    patience: float | None
    host: Host
    """The server of the connection."""

    preamble: str = ""
    """SQL to run before each statement: settings that the server did not accept at the start."""

    def __init__(self, dsn: str, host: Host, patience: float) -> None:
        self.host = host
        self.patience = patience
        super().__init__(dsn)
        self.made_at = time.monotonic()


def bound_all_waits() -> None:
    """Make the driver observe `BoundedConnection.patience` on all connections of this process."""
    extensions.set_wait_callback(_wait)


def _wait(connection: Any) -> None:
    """Wait for the server as psycopg2 does, and give up at the deadline of the connection."""
    patience = getattr(connection, "patience", None)
    deadline = None if patience is None else time.monotonic() + patience
    poll = select.poll()
    while (state := connection.poll()) != extensions.POLL_OK:
        poll.register(
            connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
        )
        milliseconds = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poll.poll(milliseconds):
            raise AnswerTimedOut("the server's answer timed out")
