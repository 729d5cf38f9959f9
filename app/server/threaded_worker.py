"""The worker of gunicorn itself: threads that read, answer and keep connections."""

import select
import time
from typing import Any

from gunicorn.http.body import LengthReader

from app.http.shutdown import begin_worker_shutdown
from app.server.closing import ClosingWorker
from app.server.settings import server_settings
from app.server.worker import SupervisedWorker

ACCEPT_DELAY_SECONDS = 0.0002
"""Delay of a worker per open connection before it accepts another one."""

MAX_DELAYED_CONNECTIONS = 5
"""Open connections that count for the delay."""


KEPT_MILLISECONDS = 2
"""Time for which a thread without other work waits for the next request of its connection."""


class ThreadedWorker(SupervisedWorker, ClosingWorker):
    """A threaded worker that shares connections evenly and loses none when it stops."""

    sockets: list[Any]

    def accept(self, listener: Any) -> None:
        """Accept a connection, after a short delay that grows with the open connections.

        All workers wake for a new connection, and the first one takes it. Without the delay, a
        worker that is awake already would take all connections of a burst. They are kept alive, so
        the other workers would idle for as long as the burst lasts.
        """
        if self.nr_conns:
            time.sleep(ACCEPT_DELAY_SECONDS * min(self.nr_conns, MAX_DELAYED_CONNECTIONS))
        super().accept(listener)

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """Serve the next requests of a connection in the same thread, if no other work waits.

        Gunicorn calls this after a request. By itself it passes the connection back to the main
        thread, which waits for the next request and passes it to another thread: that takes a
        third of a small request's time.

        Returns:
            Whether the connection can be kept for later requests.
        """
        while keepalive and _is_read(conn.parser.mesg) and self._has_next(conn):
            conn.parser.mesg = None  # its body has no rest for the parser to discard
            keepalive = self.handle_request(next(conn.parser), conn)
        return bool(super()._keepalive_after(conn, keepalive))

    def _has_next(self, conn: Any) -> bool:
        """Return whether a request arrives on the connection before this thread is needed."""
        if not self.alive or self._is_thread_needed():
            return False
        if conn.parser.unreader.buf.getvalue():  # the client did not wait for the response
            return True
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        return bool(poll.poll(KEPT_MILLISECONDS)) and not self._is_thread_needed()

    def _is_thread_needed(self) -> bool:
        """Return whether a connection waits for a thread."""
        return not self.tpool._work_queue.empty()  # the pool has no public way to ask

    def is_parent_alive(self) -> bool:
        """Return whether the master is alive; if it is not, begin to stop."""
        if super().is_parent_alive():
            return True
        begin_worker_shutdown()
        self.alive = False
        return False

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting connections; on stopping, drain and close the listeners.

        Gunicorn keeps the listeners open until the last request has ended. The kernel would queue
        connections meanwhile that no worker accepts.
        """
        if self.alive or enabled:
            super().set_accept_enabled(enabled)
            return
        self._drain(time.monotonic() + server_settings().drain_seconds)
        super().set_accept_enabled(False)
        for listener in self.sockets:
            self._accept_queued(listener)
            listener.close()
        self.sockets = []

    def _drain(self, deadline: float) -> None:
        """Serve new connections until `deadline`; each response closes its connection."""
        while (seconds := deadline - time.monotonic()) > 0 and self.has_parent():
            self.notify()
            super().set_accept_enabled(self.nr_conns < self.worker_connections)
            self.wait_for_and_dispatch_events(timeout=min(seconds, 1.0))
            self.murder_keepalived()
            self.murder_pending()

    def _accept_queued(self, listener: Any) -> None:
        accepted = -1
        while accepted < self.nr_conns:
            accepted = self.nr_conns
            super().accept(listener)


def _is_read(request: Any) -> bool:
    """Return whether the body of `request` has been read to its end, or is empty.

    The parser finds that out as well, but sets the socket's timeout several times for it. Each time
    another thread may take the interpreter's lock.
    """
    body = request.body
    reader = body.reader
    return isinstance(reader, LengthReader) and reader.length == 0 and body.buf.tell() == 0
