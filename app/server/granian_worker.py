"""The worker whose requests Granian reads and answers, in Rust, beside the Python threads.

Gunicorn's master starts, supervises and ends it as any other worker. So everything around the
requests (settings, embedded PostgreSQL, migrations, shared metrics, signals) is the same.
"""

import asyncio
import os
import select
import threading
import time
from typing import Any

# Granian's own processes use these names as well. It has no public way to serve inside a process
# of another master, so setup.cfg bounds its version.
from granian._futures import _new_cbscheduler
from granian._granian import SocketHolder, WorkerSignal, WSGIWorker
from granian.http import HTTP1Settings

from app.http.shutdown import begin_worker_shutdown
from app.server import listeners
from app.server.granian_requests import MAX_SLOW_BODIES, RequestHandler
from app.server.gunicorn_config import KEEP_ALIVE_SECONDS
from app.server.settings import server_settings
from app.server.worker import SupervisedWorker

MAX_HEAD_BYTES = 64 * 1024
"""Maximum size of a request's line and headers together; Granian answers a longer one with 431."""

IDLE_THREAD_SECONDS = 60
"""Time after which a Python thread beyond the first ends if it has no work."""


class GranianWorker(SupervisedWorker):
    """A worker that serves HTTP by Granian."""

    sockets: list[Any]
    wsgi: Any

    def run(self) -> None:
        """Serve until a signal or the end of the master; then drain, and finish the requests."""
        handler = RequestHandler(self.wsgi, server_settings().threads)
        servers = [self._serve(shared, handler) for shared in self.sockets]
        self.sockets = []  # Granian owns them, and closes them when it stops to accept
        while self.alive and self.has_parent():
            self._wait(1.0)
        begin_worker_shutdown()
        deadline = time.monotonic() + server_settings().drain_seconds
        while (seconds := deadline - time.monotonic()) > 0 and self.has_parent():
            self._wait(min(seconds, 1.0))
        for stop, _ in servers:
            stop.set()
        for _, stopped in servers:
            while not stopped.wait(1.0):
                self.notify()

    def _serve(self, shared: Any, handler: RequestHandler) -> tuple[Any, threading.Event]:
        """Serve a listener of the master; return how to stop, and what shows that it has."""
        listener = listeners.own(shared.sock, self.cfg.backlog)
        is_local = listeners.host_of(listener) is None
        server = WSGIWorker(
            worker_id=self.age,
            sock=(None, SocketHolder(listener.detach(), is_local, self.cfg.backlog)),
            ipc=None,
            threads=1,
            blocking_threads=1,
            py_threads=server_settings().threads + MAX_SLOW_BODIES,
            py_threads_idle_timeout=IDLE_THREAD_SECONDS,
            backpressure=self.cfg.worker_connections,
            http_mode="1",
            http1_opts=HTTP1Settings(
                # Granian also counts the time between two requests of a connection.
                header_read_timeout=KEEP_ALIVE_SECONDS * 1000,
                max_buffer_size=MAX_HEAD_BYTES,
            ),
        )
        stop, stopped = WorkerSignal(), threading.Event()
        stop.add_cb(stopped.set)
        loop = asyncio.new_event_loop()  # never runs: WSGI needs none, but the constructor does
        serve = server.serve_mtr_uds if is_local else server.serve_mtr
        serve(_new_cbscheduler(loop, handler, impl_asyncio=True), loop, stop)
        return stop, stopped

    def _wait(self, seconds: float) -> None:
        """Wait for a signal; gunicorn makes each one write to its pipe."""
        self.notify()
        if select.select([self.PIPE[0]], [], [], seconds)[0]:
            os.read(self.PIPE[0], 1024)
