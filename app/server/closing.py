"""A worker that closes connections without waiting for its clients."""

import selectors
import socket
import time
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

LINGER_SECONDS = 2.0
"""Time that a client has to close its side of a connection."""

MAX_DISCARDED_BYTES = 1024 * 1024
"""Bytes that a client may send after the response before its connection is closed."""


class ClosingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn is untyped
    """A threaded worker that closes connections in two steps (RFC 9112, section 9.6).

    It closes its own direction first. Then it discards incoming bytes until the client has closed
    the other direction; otherwise the client could lose the response. Gunicorn itself waits for
    that in the thread that accepts connections, for up to two seconds per connection.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lingering: deque[Any] = deque()

    def finish_request(self, conn: Any, fs: "Future[Any]") -> None:
        """Keep the connection open for the next request, or begin to close it."""
        if fs.cancelled() or fs.exception() is not None or fs.result() is not False:
            super().finish_request(conn, fs)
            return
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(
                conn.sock, selectors.EVENT_READ, partial(self._discard, conn, [MAX_DISCARDED_BYTES])
            )
        except (OSError, ValueError):  # the connection is closed already
            self._forget(conn)
        else:
            conn.timeout = time.monotonic() + LINGER_SECONDS
            self._lingering.append(conn)

    def murder_pending(self) -> None:
        """Close the connections whose time has run out; gunicorn calls this every second."""
        super().murder_pending()
        while self._lingering and self._lingering[0].timeout <= time.monotonic():
            self._end(self._lingering[0])

    def _discard(self, conn: Any, left: list[int], client: socket.socket) -> None:
        try:
            data = client.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        left[0] -= len(data)
        if not data or left[0] < 0:
            self._end(conn)

    def _end(self, conn: Any) -> None:
        self._lingering.remove(conn)
        self.poller.unregister(conn.sock)
        self._forget(conn)

    def _forget(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()
