"""What every worker process does, whichever server reads its requests."""

import os
import signal
from types import FrameType

from gunicorn.errors import AppImportError
from gunicorn.workers.base import Worker

from app.http.shutdown import begin_worker_shutdown

QUIT_SECONDS = 12.0
"""Time that a worker has to stop at once; an attempt at a webhook takes at most 10 seconds."""

ORPHAN_SECONDS = 1.0
"""Time that a worker has to finish its requests after its master was killed."""


class SupervisedWorker(Worker):  # type: ignore[misc]  # gunicorn is untyped
    """A worker of gunicorn's master that ends in time, in each of the ways to end it."""

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
        Worker.handle_quit(self, sig, frame)

    def notify(self) -> None:
        """Show that this worker is alive; to be called every second, also during a stop."""
        super().notify()
        self._end_if_orphaned()

    def has_parent(self) -> bool:
        """Return whether the master that started this worker is still alive."""
        return bool(os.getppid() == self.ppid)

    def _end_if_orphaned(self) -> None:
        """If the master is gone, make the kernel end this process after ORPHAN_SECONDS.

        Nothing supervises an orphan, and a new server needs its port. Neither a busy thread nor a
        held lock can delay the kernel.
        """
        if not self.has_parent() and signal.getitimer(signal.ITIMER_REAL)[0] == 0:
            _end_in(ORPHAN_SECONDS)


def _end_in(seconds: float) -> None:
    """Make the kernel end this process after `seconds`."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
