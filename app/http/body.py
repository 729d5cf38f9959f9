"""Reads a request's body, all of it, within limits of size and time."""

import socket
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from flask import Flask, Response, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from app.errors import UnsupportedContentEncoding, UnsupportedMediaType
from app.http.response import JSON
from app.http.strict_json import parse

MAX_BYTES = 1024 * 1024
DRAIN_STEP = 64 * 1024
DRAINED_BYTES = 16 * 1024 * 1024
STALL_SECONDS = 10
"""How long a caller may send nothing of a body that it has begun."""

REFUSED_SECONDS = 0.2
"""How long to read the body of a caller that was refused: enough for one that a proxy holds
already."""

CLOSE = ("Connection", "close")
"""The header of a response whose connection serves no other request."""

BROKEN = (ParseException, OSError)
"""What reading a body raises that is malformed, or ends before it should."""

MERGE_PATCH = "application/merge-patch+json"


def raw_body() -> bytes:
    """Return the request's body, all of it.

    Raises UnsupportedContentEncoding; RequestEntityTooLarge past MAX_BYTES; BadRequest where it is
    malformed, ends before it should, or nothing comes for STALL_SECONDS.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedContentEncoding
    try:
        with _bounded_waits(STALL_SECONDS):
            data = request.get_data(cache=True)
            # Werkzeug reads a body without a stated length up to the limit, and says nothing of
            # what it leaves.
            is_cut = request.content_length is None and len(data) >= MAX_BYTES and _input().read(1)
    except BROKEN:  # its text quotes what came
        raise BadRequest from None
    if is_cut:
        raise RequestEntityTooLarge
    if (
        request.content_length is not None and len(data) < request.content_length
    ):  # half of a request is none
        raise BadRequest
    return data


def register(app: Flask) -> None:
    """Make `app` read the rest of a request's body before it answers, or say that the connection
    will be closed.

    A caller that is still sending when the connection is closed may never see the answer, and a
    proxy may have chosen the connection for the next request. DRAINED_BYTES are read at most, and a
    caller that was refused has little time.
    """

    @app.after_request
    def _drain(response: Response) -> Response:
        has_body = request.content_length or request.headers.get("Transfer-Encoding")
        if has_body and not _reaches_end(
            STALL_SECONDS if _was_let_in(response.status_code) else REFUSED_SECONDS
        ):
            response.headers.add(*CLOSE)
        return response


def _reaches_end(seconds: float) -> bool:
    """Read the rest of the body, and return whether it came to its end; `seconds` bound each wait.

    Where they are fewer than STALL_SECONDS, they bound all of it.
    """
    body, deadline = _input(), time.monotonic() + seconds
    with (
        suppress(*BROKEN),
        _bounded_waits(seconds),
    ):  # what the request asked for is done or refused already
        for _ in range(DRAINED_BYTES // DRAIN_STEP):
            if getattr(
                body, "failed", False
            ):  # gunicorn does not know where the next request begins
                return False
            if not body.read(DRAIN_STEP):
                return True
            if seconds < STALL_SECONDS and time.monotonic() > deadline:
                return False
    return False


def _was_let_in(status: int) -> bool:
    return (
        request.url_rule is not None
        and request.method != "OPTIONS"
        and status not in (401, 403, 429)
    )


def _input() -> Any:
    return request.environ["wsgi.input"]


@contextmanager
def _bounded_waits(seconds: float) -> Iterator[None]:
    """Make no single wait for the caller take longer than `seconds`."""
    connection = request.environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        yield
        return
    connection.settimeout(seconds)
    try:
        yield
    finally:
        connection.settimeout(None)


def json_body(media_type: str = JSON, *, sanitised: Collection[str] = ()) -> Any:
    """Return the request's JSON document, which has to come as `media_type`.

    The fields in `sanitised` may hold any characters (see `strict_json.parse`). Raises
    UnsupportedMediaType or InvalidJSON.
    """
    if request.mimetype != media_type:
        raise UnsupportedMediaType(media_type)
    return parse(raw_body(), sanitised)


def optional_json_body(*, sanitised: Collection[str] = ()) -> Any:
    """Return the request's JSON document, or an empty object where it has no body.

    Raises UnsupportedMediaType or InvalidJSON.
    """
    return json_body(sanitised=sanitised) if raw_body() else {}
