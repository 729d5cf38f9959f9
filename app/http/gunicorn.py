"""What gunicorn says by itself, in this service's forms: its logs, and its answers to what is no HTTP request."""

import json
import re
import signal
import socket
import time
from typing import Any

import gunicorn.util
from gunicorn.errors import AppImportError
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from app.http.headers import POLICY
from app.http.presence import leave
from app.http.request_id import new_request_id

BLINK_SECONDS = 0.0002
LONGEST_BLINK = 5


class ServiceLogger(Logger):  # type: ignore[misc]  # gunicorn is untyped
    """Hands gunicorn's records to the service's own logging; requests are logged by the application."""

    def setup(self, cfg: Any) -> None:
        """Let the records go up to the root logger."""
        self.error_log.propagate = True
        self.error_log.setLevel(self.LOG_LEVELS.get(cfg.loglevel.lower(), 20))
        self.access_log.disabled = True

    def debug(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log nothing: it would quote the paths of requests, which the application logs in a safe form."""

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log a warning, without what it quotes of a malformed request: that may be a secret."""
        super().warning(_unquoted(msg) if msg.startswith("Invalid request from") else msg, *args, **kwargs)


class BalancedWorker(ThreadWorker):  # type: ignore[misc]  # likewise
    """A threaded worker that lets one with fewer connections be the first to accept.

    All workers wake for a new connection, and the quickest takes it: left alone, one that is awake anyway takes all of
    a burst, and kept-alive connections stay where they are, so that the others idle for as long as the burst lasts.
    """

    def load_wsgi(self) -> None:
        """Load the application; where its settings are wrong, end the whole server instead of starting workers anew."""
        try:
            super().load_wsgi()
        except SystemExit as refusal:
            raise AppImportError(refusal.code) from None

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
        """End at once, likewise.

        Ctrl-C sends SIGINT, and gunicorn's master SIGQUIT to that: the second must not interrupt the first, whose locks
        it would wait for.
        """
        leave()
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        super().handle_quit(sig, frame)


def answer_in_json() -> None:
    """Make gunicorn answer malformed requests in the common form instead of HTML."""
    gunicorn.util.write_error = _write_error


def _write_error(client: socket.socket, status: int, reason: str, message: str) -> None:
    answer = {"success": False, "error": reason}
    details = _unquoted(message)
    if details:
        answer["details"] = details
    body = json.dumps(answer)
    head = (
        f"HTTP/1.1 {status} {reason}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"X-Request-ID: {new_request_id()}",
        "X-Content-Type-Options: nosniff",
        f"Content-Security-Policy: {POLICY}",
        "Referrer-Policy: no-referrer",
        "Cache-Control: no-store",
    )
    gunicorn.util.write_nonblock(client, ("\r\n".join(head) + "\r\n\r\n" + body).encode("ascii"))


def _unquoted(message: str) -> str:
    """Return the beginning of gunicorn's message, up to where it quotes the request."""
    return re.split("['\"]", message, maxsplit=1)[0].rstrip(" :").encode("ascii", "replace").decode()
