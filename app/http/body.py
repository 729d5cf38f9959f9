"""Reading of request bodies, within limits of size and time.

A body is always read to its end: a client that is still sending when its connection is closed may
never see the answer, and a proxy may already have chosen the connection for the next request.
"""

import socket
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from flask import Request, Response
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from app.errors import UnsupportedContentEncoding, UnsupportedMediaType
from app.http.context import RequestContext, current_context
from app.http.response import JSON
from app.http.strict_json import parse

MAX_BYTES = 1024 * 1024
"""Maximum size of a request body."""

DRAIN_CHUNK_BYTES = 64 * 1024
MAX_DRAINED_BYTES = 16 * 1024 * 1024
"""Maximum size of the rest of a body that is read and discarded before the answer is sent."""

STALL_SECONDS = 10
"""Maximum wait for the next bytes of a body."""

REFUSED_DRAIN_SECONDS = 0.2
"""Maximum time for the body of a refused request: enough for one that a proxy holds already."""

CLOSE = ("Connection", "close")
"""The header of a response after which the connection serves no other request."""

MERGE_PATCH = "application/merge-patch+json"

_BROKEN_BODY = (ParseException, OSError)
"""Exceptions of reading a body that is malformed or ends too early."""


def json_body(media_type: str = JSON, *, sanitised: Collection[str] = ()) -> Any:
    """Return the JSON document of the current request.

    Args:
        media_type: The media type that the request must have.
        sanitised: Names of fields that may hold any characters; see `strict_json.parse`.

    Raises:
        UnsupportedMediaType: The request has another media type.
        InvalidJSON: The body is not a JSON document that the database can store.
    """
    context = current_context()
    if context.request.mimetype != media_type:
        raise UnsupportedMediaType(media_type)
    return parse(read_body(context), sanitised)


def optional_json_body(*, sanitised: Collection[str] = ()) -> Any:
    """Return the JSON document of the current request, or an empty object without a body.

    Raises UnsupportedMediaType or InvalidJSON.
    """
    return json_body(sanitised=sanitised) if read_body(current_context()) else {}


def read_body(context: RequestContext) -> bytes:
    """Return the complete body of the request, which the context keeps.

    Raises:
        UnsupportedContentEncoding: The body is encoded.
        RequestEntityTooLarge: The body has more than MAX_BYTES.
        BadRequest: The body is malformed, ends too early, or stalls for STALL_SECONDS.
    """
    if context.body is None:
        context.body = _read(context.request)
    return context.body


def _read(request: Request) -> bytes:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedContentEncoding
    length = request.content_length
    try:
        with _bounded_waits(request, STALL_SECONDS):
            data = request.get_data(cache=False)
            # Werkzeug reads a body of unknown length up to the limit and does not report the rest.
            is_cut = length is None and len(data) >= MAX_BYTES and _input(request).read(1)
    except _BROKEN_BODY:  # the text of the exception quotes the request
        raise BadRequest from None
    if is_cut:
        raise RequestEntityTooLarge
    if length is not None and len(data) < length:
        raise BadRequest
    return data


def drain(context: RequestContext, response: Response) -> None:
    """Read the rest of the request's body, or announce that the connection will be closed.

    MAX_DRAINED_BYTES are read at most. A refused request gets REFUSED_DRAIN_SECONDS.
    """
    request = context.request
    has_body = request.content_length or request.headers.get("Transfer-Encoding")
    if context.body is not None or not has_body:
        return
    was_refused = not context.has_view or response.status_code in (401, 403, 429)
    if not _reaches_end(request, REFUSED_DRAIN_SECONDS if was_refused else STALL_SECONDS):
        response.headers.add(*CLOSE)


def _reaches_end(request: Request, seconds: float) -> bool:
    """Read the rest of the body; return whether the end was reached.

    Args:
        request: The request.
        seconds: Bound of each wait; if less than STALL_SECONDS, of all waits together.
    """
    body, deadline = _input(request), time.monotonic() + seconds
    with suppress(*_BROKEN_BODY), _bounded_waits(request, seconds):  # it has been dealt with
        for _ in range(MAX_DRAINED_BYTES // DRAIN_CHUNK_BYTES):
            if getattr(body, "failed", False):  # gunicorn cannot find the next request's beginning
                return False
            if not body.read(DRAIN_CHUNK_BYTES):
                return True
            if seconds < STALL_SECONDS and time.monotonic() > deadline:
                return False
    return False


def _input(request: Request) -> Any:
    return request.environ["wsgi.input"]


@contextmanager
def _bounded_waits(request: Request, seconds: float) -> Iterator[None]:
    """Limit each single wait for the client to `seconds`."""
    connection = request.environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        yield
        return
    connection.settimeout(seconds)
    try:
        yield
    finally:
        connection.settimeout(None)
