"""The worker process of the server: how it accepts connections, and how it stops."""

import os
import signal
import time
from types import FrameType
from typing import Any

from gunicorn.errors import AppImportError
from gunicorn.workers.gthread import ThreadWorker

from app.http.shutdown import begin_worker_shutdown
from app.server import lifetime
from app.server.closing import ClosingWorker

BLINK_SECONDS = 0.0002
LONGEST_BLINK = 5
QUIT_SECONDS = 12.0
"""How long a worker that is to stop at once may take: a webhook under way takes 10 seconds at
most."""

ORPHAN_SECONDS = 1.0
"""How long a worker whose master was killed may take to finish requests."""


class ServiceWorker(ClosingWorker):
    """A threaded worker that spreads connections over the workers and loses none when it stops."""

    sockets: list[Any]

    def init_signals(self) -> None:
        """Leave SIGHUP to the master: a closed terminal and ``pkill -HUP gunicorn`` send it to
        workers as well."""
        super().init_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def load_wsgi(self) -> None:
        """Load the application; if its settings are wrong, end the whole server instead of starting
        workers anew."""
        try:
            super().load_wsgi()
        except SystemExit as refusal:
            raise AppImportError(refusal.code) from None

    def accept(self, listener: Any) -> None:
        """Accept a connection, unless another worker has done so in the blink that a busy one
        waits.

        All workers wake for a new connection, and the quickest takes it: left alone, one that is
        awake anyway takes all of a burst, and kept-alive connections stay where they are, so that
        the others idle for as long as the burst lasts.
        """
        if self.nr_conns:
            time.sleep(BLINK_SECONDS * min(self.nr_conns, LONGEST_BLINK))
        super().accept(listener)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop, and answer requests that wait for work."""
        begin_worker_shutdown()
        self._end_if_orphaned()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at once, and in QUIT_SECONDS at the latest, whatever this process does then.

        Ctrl-C sends SIGINT, and gunicorn's master sends SIGQUIT then: the second must not interrupt
        the first. Nor may this wait for a lock, which the code that it interrupts may hold:
        ThreadWorker would shut its pool down here.
        """
        begin_worker_shutdown()
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        _end_in(QUIT_SECONDS)
        super(ThreadWorker, self).handle_quit(sig, frame)

    def notify(self) -> None:
        """Show that this worker lives; gunicorn calls this every second, while the worker stops,
        too."""
        super().notify()
        self._end_if_orphaned()

    def is_parent_alive(self) -> bool:
        """Return whether the master lives. Without it this worker begins to stop."""
        if super().is_parent_alive():
            return True
        begin_worker_shutdown()
        self.alive = False
        return False

    def set_accept_enabled(self, enabled: bool) -> None:
        """Begin or end to accept connections. A worker that stops drains its listeners first, and
        closes them.

        Gunicorn keeps them open until the last request has ended, and nothing accepts the
        connections that the kernel queues meanwhile.
        """
        if self.alive or enabled:
            super().set_accept_enabled(enabled)
            return
        self._drain(time.monotonic() + lifetime.settings().drain_seconds)
        super().set_accept_enabled(False)
        for listener in self.sockets:
            self._accept_queued(listener)
            listener.close()
        self.sockets = []

    def _drain(self, deadline: float) -> None:
        """Serve new connections until `deadline`; each answer says that its connection will be
        closed."""
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
        """End in ORPHAN_SECONDS, whatever this process does then, if its master is gone.

        Nothing supervises an orphan, and a new server needs its port. The kernel ends it: no thread
        that is busy and no lock that is held can prevent that.
        """
        if os.getppid() != self.ppid and signal.getitimer(signal.ITIMER_REAL)[0] == 0:
            _end_in(ORPHAN_SECONDS)


def _end_in(seconds: float) -> None:
    """Make the kernel end this process in some seconds."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
