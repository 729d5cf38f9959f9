"""The worker process of the server."""

import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from app.http.presence import leave

BLINK_SECONDS = 0.0002
LONGEST_BLINK = 5


class BalancedWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn is untyped
    """A threaded worker that lets one with fewer connections be the first to accept.

    All workers wake for a new connection, and the quickest takes it: left alone, one that is awake anyway takes all of
    a burst, and kept-alive connections stay where they are, so that the others idle for as long as the burst lasts.
    """

    def accept(self, listener: Any) -> None:
        """Accept a connection, unless another worker has done so in the blink that a busy one waits."""
        if self.nr_conns:
            time.sleep(BLINK_SECONDS * min(self.nr_conns, LONGEST_BLINK))
        super().accept(listener)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to end, and let nobody wait for work any more."""
        leave()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """End at once, likewise."""
        leave()
        super().handle_quit(sig, frame)
