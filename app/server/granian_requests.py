"""The requests that Granian has received: their bodies and their answers."""

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any

from app.http.body import CLOSE, DRAIN_CHUNK_BYTES, MAX_BYTES, MAX_DRAINED_BYTES
from app.http.shutdown import worker_is_stopping

MAX_SLOW_BODIES = 64
"""Threads in addition to THREADS, for requests whose bodies have not arrived completely."""

Headers = list[tuple[str, str]]

_ENVIRON: dict[str, Any] = {
    "SCRIPT_NAME": "",
    "SERVER_SOFTWARE": "granian",
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
    "wsgi.multiprocess": True,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.version": (1, 0),
}


class RequestHandler:
    """Calls the WSGI application for a request, in one of Granian's Python threads.

    The body is read before the application is called, which works on THREADS requests at a time.
    So a slow body delays no other request.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, connection: Any, environ: dict[str, Any]) -> None:
        """Answer a request.

        Args:
            connection: Granian's way to send the response.
            environ: The part of the WSGI environment that depends on the request.
        """
        environ.update(_ENVIRON)
        body = environ["wsgi.input"]
        is_complete = _buffer_body(environ)
        status, headers, parts = self._call(environ)
        is_stream = status == 200 and "Content-Length" not in dict(headers)
        if worker_is_stopping() and CLOSE not in headers:
            headers.append(CLOSE)
        if is_stream:
            connection.response_iter(status, headers, _Parts(parts))
        else:
            connection.response_bytes(status, headers, _joined(parts))
        if not is_complete:
            _discard(body)

    def _call(self, environ: dict[str, Any]) -> tuple[int, Headers, Iterable[bytes]]:
        """Return the application's response; the parts of its body may still be to come."""
        status, headers = 500, Headers()

        def start_response(line: str, fields: Headers, _error: object = None) -> None:
            nonlocal status, headers
            status, headers = int(line[:3]), fields

        parts = self._application(environ, start_response)
        return status, headers, parts


class _Parts:
    """The parts of a stream, as Granian asks for them."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts
        self.__next__ = iter(parts).__next__

    def close(self) -> None:
        """End the stream."""
        _close(self._parts)


def _joined(parts: Iterable[bytes]) -> bytes:
    try:
        return b"".join(parts)
    finally:
        _close(parts)


def _close(parts: Iterable[bytes]) -> None:
    if close := getattr(parts, "close", None):
        close()


def _buffer_body(environ: dict[str, Any]) -> bool:
    """Read the body into memory, unless it is too large; return whether it was read to its end.

    Granian offers no bound for a single wait. A stalled body therefore holds one of
    MAX_SLOW_BODIES threads until its client hangs up.
    """
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if not length and "HTTP_TRANSFER_ENCODING" not in environ:
        environ["wsgi.input"] = io.BytesIO()
        return True
    content = environ["wsgi.input"].read(MAX_BYTES + 1) if length <= MAX_BYTES else b""
    environ["wsgi.input"] = io.BytesIO(content)
    return length <= MAX_BYTES and len(content) <= MAX_BYTES


def _discard(body: Any) -> None:
    """Read the rest of a body that was too large, so that its client sees the response.

    A client that is still sending when its connection is closed may never see it.
    """
    for _ in range(MAX_DRAINED_BYTES // DRAIN_CHUNK_BYTES):
        if not body.read(DRAIN_CHUNK_BYTES):
            return
