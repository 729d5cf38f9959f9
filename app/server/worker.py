"""The worker process: accepts connections, drains them, and stops."""

import os
import signal
import time
from types import FrameType
from typing import Any

from gunicorn.errors import AppImportError
from gunicorn.workers.gthread import ThreadWorker

from app.http.shutdown import begin_worker_shutdown
from app.server.closing import ClosingWorker
from app.server.settings import server_settings

ACCEPT_DELAY_SECONDS = 0.0002
"""Delay of a worker per open connection before it accepts another one."""

MAX_DELAYED_CONNECTIONS = 5
"""Open connections that count for the delay."""

QUIT_SECONDS = 12.0
"""Time that a worker has to stop at once; an attempt at a webhook takes at most 10 seconds."""

ORPHAN_SECONDS = 1.0
"""Time that a worker has to finish its requests after its master was killed."""


class ServiceWorker(ClosingWorker):
    """A threaded worker that shares connections evenly and loses none when it stops."""

    sockets: list[Any]

    def init_signals(self) -> None:
        """Ignore SIGHUP, which only the master handles.

        A closed terminal and ``pkill -HUP gunicorn`` send it to the workers as well.
        """
        super().init_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def load_wsgi(self) -> None:
        """Load the application.

        Raises:
            AppImportError: Its settings are invalid. The whole server ends then, instead of
                starting workers again and again.
        """
        try:
            super().load_wsgi()
        except SystemExit as refusal:
            raise AppImportError(refusal.code) from None

    def accept(self, listener: Any) -> None:
        """Accept a connection, after a short delay that grows with the open connections.

        All workers wake for a new connection, and the first one takes it. Without the delay, a
        worker that is awake already would take all connections of a burst. They are kept alive, so
        the other workers would idle for as long as the burst lasts.
        """
        if self.nr_conns:
            time.sleep(ACCEPT_DELAY_SECONDS * min(self.nr_conns, MAX_DELAYED_CONNECTIONS))
        super().accept(listener)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop, and answer the requests that wait for jobs."""
        begin_worker_shutdown()
        self._end_if_orphaned()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at once; the kernel ends this process after QUIT_SECONDS.

        Ctrl-C sends SIGINT, after which gunicorn's master sends SIGQUIT. The second signal must
        not interrupt the handler of the first. The handler must not wait for a lock, because the
        interrupted code may hold it. ThreadWorker would wait: it shuts its pool down here.
        """
        begin_worker_shutdown()
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        _end_in(QUIT_SECONDS)
        super(ThreadWorker, self).handle_quit(sig, frame)

    def notify(self) -> None:
        """Show that this worker is alive; gunicorn calls this every second, also during a stop."""
        super().notify()
        self._end_if_orphaned()

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
        while (seconds := deadline - time.monotonic()) > 0 and os.getppid() == self.ppid:
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

    def _end_if_orphaned(self) -> None:
        """If the master is gone, make the kernel end this process after ORPHAN_SECONDS.

        Nothing supervises an orphan, and a new server needs its port. Neither a busy thread nor a
        held lock can delay the kernel.
        """
        if os.getppid() != self.ppid and signal.getitimer(signal.ITIMER_REAL)[0] == 0:
            _end_in(ORPHAN_SECONDS)


def _end_in(seconds: float) -> None:
    """Make the kernel end this process after `seconds`."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
