"""The one reader of the event log in a process, which works while streams are open."""

import functools
import logging
import threading
from collections.abc import Callable, Collection
from datetime import datetime

from app.errors import DatabaseFailure
from app.http.connection import ClientConnection
from app.live.change_log import ChangeLog, Demand
from app.live.changes import ChangedJob
from app.live.streams import Stream
from app.observability.failure_log import log_failure
from app.periodic import DatabaseContext

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""Time between two readings: a change is sent this long after its commit at the latest."""


class LogReader:
    """Reads the log for all streams of this process, in a thread that starts with the first one.

    So the database has the same work for one stream as for many, and no stream holds a connection
    to it. The thread ends with the last stream.
    """

    def __init__(self, context: DatabaseContext, is_stopping: Callable[[], bool]) -> None:
        """Read in `context`, with the rows of all customers."""
        self._context = context
        self._is_stopping = is_stopping
        self._lock = threading.Lock()
        self._connections: dict[Stream, ClientConnection] = {}
        self._is_running = False

    def add(self, stream: Stream, connection: ClientConnection, position: datetime) -> None:
        """Offer the changes from now on to a stream.

        Args:
            stream: The stream.
            connection: The connection to its client, which is ended if the client reads nothing.
            position: A position from before this call, at which the reader begins if it starts.
        """
        with self._lock:
            self._connections[stream] = connection
            if not self._is_running:
                self._is_running = True
                threading.Thread(
                    target=self._run, args=(position,), name="event-reader", daemon=True
                ).start()

    def remove(self, stream: Stream) -> None:
        """Offer nothing more to a stream."""
        with self._lock:
            self._connections.pop(stream, None)

    def _run(self, position: datetime) -> None:
        changes, pause = ChangeLog(position), threading.Event()
        with self._context():
            while connections := self._open_connections():
                self._read(changes)
                for stream, connection in connections.items():
                    if stream.is_stuck() or (self._is_stopping() and stream.is_stuck(POLL_SECONDS)):
                        connection.abort()
                pause.wait(POLL_SECONDS)

    def _open_connections(self) -> dict[Stream, ClientConnection]:
        """Return the streams with their connections; if there are none, the thread has to end."""
        with self._lock:
            self._is_running = bool(self._connections)
            return dict(self._connections)

    def _read(self, changes: ChangeLog) -> None:
        @functools.cache
        def streams() -> Collection[Stream]:
            # Those that are open after the changed jobs were found: a stream that is opened later
            # finds these changes itself.
            with self._lock:
                return list(self._connections)

        def demand(job: ChangedJob) -> Demand:
            interested = [stream for stream in streams() if stream.selection.may_include(job)]
            if not interested:
                return Demand.NOTHING
            whole = any(stream.selection.shows_documents for stream in interested)
            return Demand.ALL_FIELDS if whole else Demand.LISTED_FIELDS

        try:
            for batch, position in changes.read(demand):
                for stream in streams():
                    stream.offer(batch, position)
        except DatabaseFailure as failure:
            text = "the event log could not be read: %s"
            log_failure(log, logging.WARNING, text, failure.details, cause=failure.__cause__)
        except Exception:  # an error in one reading must not end the streams of this process
            log.exception("the event log could not be read")
