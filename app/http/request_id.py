"""The request's id: the caller's own where it is fit to be stored, else a new one."""

import re

from flask import Flask, Response, g, request
from uuid_utils import uuid7

from app.text.credentials import holds_secret

HEADER = "X-Request-ID"
_FIT = re.compile(r"[A-Za-z0-9._-]{1,128}")


def new_request_id() -> str:
    """Return an id for a request that brought none."""
    return str(uuid7())


def request_id() -> str:
    """Return the current request's id."""
    known: str | None = g.get("request_id")
    if known is None:
        given = request.headers.get(HEADER, "")
        known = g.request_id = (
            given if _FIT.fullmatch(given) and not holds_secret(given) else new_request_id()
        )
    return known


def register(app: Flask) -> None:
    """Make every answer of `app` carry its request's id."""

    @app.after_request
    def _tell(response: Response) -> Response:
        response.headers.add(HEADER, request_id())
        return response
