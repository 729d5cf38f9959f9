"""Gunicorn's own log records and error responses, in the format of this service."""

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
    """Passes gunicorn's records to the service's logging; the application logs the requests."""

    def setup(self, cfg: Any) -> None:
        """Propagate the records to the root logger."""
        self.error_log.propagate = True
        self.error_log.setLevel(self.LOG_LEVELS.get(cfg.loglevel.lower(), 20))
        self.access_log.disabled = True

    def debug(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log nothing: debug records quote request paths, which may contain secrets."""

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log a warning, without its quotes of a malformed request, which may be a secret."""
        super().warning(
            _unquoted(msg) if msg.startswith("Invalid request from") else msg, *args, **kwargs
        )


class ClosingResponse(Response):  # type: ignore[misc]  # gunicorn is untyped
    """A response that closes its connection if the application sends ``Connection: close``.

    Gunicorn itself ignores that header of the application.
    """

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Process the headers of the application's response."""
        super().process_headers(headers)
        if CLOSE in headers:
            self.force_close()


def install_responses() -> None:
    """Replace gunicorn's HTML error pages by JSON, and its response by `ClosingResponse`."""
    gunicorn.util.write_error = _write_error
    gunicorn.http.wsgi.Response = ClosingResponse


def _write_error(client: socket.socket, status: int, reason: str, message: str) -> None:
    document = {"success": False, "error": reason}
    details = _unquoted(message)
    if details:
        document["details"] = details
    body = json.dumps(document)
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
    """Return gunicorn's message up to the point where it quotes the request."""
    return (
        re.split("['\"]", message, maxsplit=1)[0].rstrip(" :").encode("ascii", "replace").decode()
    )
