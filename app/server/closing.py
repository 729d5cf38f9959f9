"""How a worker closes connections without waiting for its clients."""

import selectors
import socket
import time
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

LINGER_SECONDS = 2.0
DISCARDED_BYTES = 1024 * 1024


class ClosingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn is untyped
    """A threaded worker that closes connections in two steps, as RFC 9112, section 9.6, asks for.

    First it sends its end, then it discards what arrives until the client has closed, too; else the
    client may lose the answer. Gunicorn waits for that in the thread that accepts connections, up
    to two seconds for each.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lingering: deque[Any] = deque()

    def finish_request(self, conn: Any, fs: "Future[Any]") -> None:
        """Keep the connection for the next request, or begin to close it."""
        if fs.cancelled() or fs.exception() is not None or fs.result() is not False:
            super().finish_request(conn, fs)
            return
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(
                conn.sock, selectors.EVENT_READ, partial(self._discard, conn, [DISCARDED_BYTES])
            )
        except (OSError, ValueError):  # it is closed already
            self._forget(conn)
        else:
            conn.timeout = time.monotonic() + LINGER_SECONDS
            self._lingering.append(conn)

    def murder_pending(self) -> None:
        """Close the connections whose time is over; gunicorn calls this every second."""
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
