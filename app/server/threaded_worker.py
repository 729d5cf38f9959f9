"""The worker of gunicorn itself: threads that read, answer and keep connections."""

import time
from typing import Any

from app.http.shutdown import begin_worker_shutdown
from app.server.closing import ClosingWorker
from app.server.settings import server_settings
from app.server.worker import SupervisedWorker

ACCEPT_DELAY_SECONDS = 0.0002
"""Delay of a worker per open connection before it accepts another one."""

MAX_DELAYED_CONNECTIONS = 5
"""Open connections that count for the delay."""


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
