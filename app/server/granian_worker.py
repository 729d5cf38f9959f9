"""The worker whose requests Granian reads and answers, in Rust, beside the Python threads.

Gunicorn's master starts, supervises and ends it as any other worker. So everything around the
requests (settings, embedded PostgreSQL, migrations, shared metrics, signals) is the same.
"""

import asyncio
import os
import resource
import select
import threading
import time
from typing import Any

# Granian's own processes use these names as well. It has no public way to serve inside a process
# of another master, so setup.cfg bounds its version.
from granian._futures import _new_cbscheduler
from granian._granian import SocketHolder, WorkerSignal, WSGIWorker
from granian.http import HTTP1Settings

from app.http.shutdown import begin_worker_shutdown, server_is_stopping
from app.server import listeners
from app.server.granian_requests import MAX_SLOW_BODIES, RequestHandler
from app.server.gunicorn_config import KEEP_ALIVE_SECONDS
from app.server.settings import server_settings
from app.server.worker import SupervisedWorker

MAX_HEAD_BYTES = 64 * 1024
"""Maximum size of a request's line and headers together; Granian answers a longer one with 431."""

LINGER_SECONDS = 0.5
"""Time in which a request may still arrive on an open connection of a worker that accepts no more.

Granian closes idle connections as soon as it is told to stop."""

MAX_CONNECTIONS = 10_000
"""Maximum number of open connections of a worker; further ones wait in the listener."""

OTHER_FILES = 256
"""Open files of a worker that are not connections of clients; a generous estimate."""

IDLE_THREAD_SECONDS = 60
"""Time after which a Python thread beyond the first ends if it has no work."""


class GranianWorker(SupervisedWorker):
    """A worker that serves HTTP by Granian."""

    sockets: list[Any]
    wsgi: Any
    listener: int
    """The number of the listener that this worker serves; `app.server.hooks` sets it."""

    def run(self) -> None:
        """Serve until a signal or the end of the master; then drain, and finish the requests."""
        file = self._take_listener()
        stop, stopped = WorkerSignal(), threading.Event()
        stop.add_cb(stopped.set)
        self._serve(file, stop)
        while self.alive and self.has_parent():
            self._wait(1.0)
        begin_worker_shutdown()
        self._wait_for(server_settings().drain_seconds)
        if server_is_stopping():
            listeners.refuse_new(file)
        listeners.stop_accepting(file)
        self._wait_for(LINGER_SECONDS)
        stop.set()
        while not stopped.wait(1.0):
            self.notify()

    def _take_listener(self) -> int:
        """Return the file of this worker's listener, without a Python object that may close it."""
        taken = self.sockets.pop(self.listener)
        self._is_local = listeners.host_of(taken.sock) is None
        for other in self.sockets:  # so that each closes with its own worker
            other.sock.close()
        self.sockets = []
        return int(taken.sock.detach())

    def _serve(self, file: int, stop: Any) -> None:
        settings = server_settings()
        server = WSGIWorker(
            worker_id=self.age,
            sock=(None, SocketHolder(file, self._is_local, self.cfg.backlog)),
            ipc=None,
            threads=1,
            blocking_threads=1,
            py_threads=settings.server_threads + MAX_SLOW_BODIES,
            py_threads_idle_timeout=IDLE_THREAD_SECONDS,
            backpressure=_max_connections(),
            http_mode="1",
            http1_opts=HTTP1Settings(
                # Granian also counts the time between two requests of a connection.
                header_read_timeout=KEEP_ALIVE_SECONDS * 1000,
                max_buffer_size=MAX_HEAD_BYTES,
            ),
        )
        handler = RequestHandler(self.wsgi)
        loop = asyncio.new_event_loop()  # never runs: WSGI needs none, but the scheduler does
        serve = server.serve_mtr_uds if self._is_local else server.serve_mtr
        serve(_new_cbscheduler(loop, handler, impl_asyncio=True), loop, stop)

    def _wait_for(self, seconds: float) -> None:
        """Wait for `seconds`, or until the master is gone."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and self.has_parent():
            self._wait(min(left, 1.0))

    def _wait(self, seconds: float) -> None:
        """Wait for a signal; gunicorn makes each one write to its pipe."""
        self.notify()
        if select.select([self.PIPE[0]], [], [], seconds)[0]:
            os.read(self.PIPE[0], 1024)


def _max_connections() -> int:
    """Return how many connections may be open; without a free file Granian could not accept."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(MAX_CONNECTIONS, files - OTHER_FILES))
