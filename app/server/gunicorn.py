"""What gunicorn says by itself, in this service's forms: its logs, and its answers to what is no
HTTP request."""

import json
import re
import socket
from typing import Any

import gunicorn.http.wsgi
import gunicorn.util
from gunicorn.glogging import Logger
from gunicorn.http.wsgi import Response

from app.http.body import CLOSE
from app.http.request_id import new_request_id
from app.http.security_headers import POLICY


class ServiceLogger(Logger):  # type: ignore[misc]  # gunicorn is untyped
    """Hands gunicorn's records to the service's own logging; requests are logged by the
    application."""

    def setup(self, cfg: Any) -> None:
        """Let the records go up to the root logger."""
        self.error_log.propagate = True
        self.error_log.setLevel(self.LOG_LEVELS.get(cfg.loglevel.lower(), 20))
        self.access_log.disabled = True

    def debug(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log nothing: it would quote the paths of requests, which the application logs in a safe
        form."""

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log a warning, without what it quotes of a malformed request: that may be a secret."""
        super().warning(
            _unquoted(msg) if msg.startswith("Invalid request from") else msg, *args, **kwargs
        )


class ClosingResponse(Response):  # type: ignore[misc]  # gunicorn is untyped
    """A response that closes its connection, and says so, if the application says ``Connection:
    close``.

    Gunicorn ignores that header.
    """

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Take the headers of the application's response."""
        super().process_headers(headers)
        if CLOSE in headers:
            self.force_close()


def install_answers() -> None:
    """Make gunicorn answer malformed requests in the common form instead of HTML, and close
    connections when told."""
    gunicorn.util.write_error = _write_error
    gunicorn.http.wsgi.Response = ClosingResponse


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
    return (
        re.split("['\"]", message, maxsplit=1)[0].rstrip(" :").encode("ascii", "replace").decode()
    )
