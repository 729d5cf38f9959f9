"""A database connection that limits the time of each wait for the server.

The timeouts of the server do not help if the server itself hangs, or its disk does.
"""

import select
import time

import psycopg2
from psycopg2 import extensions
from psycopg2.extras import wait_select

from app.database.database_url import Host


class AnswerTimedOut(psycopg2.OperationalError):
    """The server did not answer in time. The connection is closed."""


class BoundedConnection(extensions.connection):
    """A connection that waits at most `patience` seconds for each answer; None is no limit."""

    patience: float | None
    host: Host
    """The server of the connection."""

    _answers: "select.poll | None" = None
    """Waits for bytes of the server. A new object for each wait would cost more than the wait."""

    preamble: str = ""
    """SQL to run before each statement: settings that the server did not accept at the start."""

    def __init__(self, dsn: str, host: Host, patience: float) -> None:
        self.host = host
        self.patience = patience
        super().__init__(dsn)
        self._answers = _poll(self, select.POLLIN)
        self.made_at = time.monotonic()

    def has_input(self) -> bool:
        """Return whether the server has sent bytes that are not read yet."""
        assert self._answers is not None
        return bool(self._answers.poll(0))

    def wait_for_answer(self, milliseconds: float | None) -> bool:
        """Wait for bytes of the server; return False if none came in time."""
        # The socket may change until the connection is made.
        answers = self._answers or _poll(self, select.POLLIN)
        return bool(answers.poll(milliseconds))


def bound_all_waits() -> None:
    """Make the driver observe `BoundedConnection.patience` on all connections of this process."""
    extensions.set_wait_callback(_wait)


def _wait(connection: extensions.connection) -> None:
    """Wait for the server as psycopg2 does, and give up at the deadline of the connection."""
    if not isinstance(connection, BoundedConnection):
        wait_select(connection)
        return
    patience = connection.patience
    deadline = None if patience is None else time.monotonic() + patience
    while (state := connection.poll()) != extensions.POLL_OK:
        milliseconds = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if state == extensions.POLL_READ:
            is_ready = connection.wait_for_answer(milliseconds)
        else:
            is_ready = bool(_poll(connection, select.POLLOUT).poll(milliseconds))
        if not is_ready:
            raise AnswerTimedOut("the server's answer timed out")


def _poll(connection: extensions.connection, events: int) -> "select.poll":
    poll = select.poll()
    poll.register(connection.fileno(), events)
    return poll
