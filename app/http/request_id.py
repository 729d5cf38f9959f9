"""The id of each request: the client's if it is valid, else a new one."""

import re

from flask import Response, g, request
from uuid_utils import uuid7

from app.text.credentials import holds_secret

HEADER = "X-Request-ID"
_VALID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def new_request_id() -> str:
    """Return an id for a request without a valid one."""
    return str(uuid7())


def assign() -> None:
    """Give the current request its id; a credential in the header is not stored."""
    given = request.headers.get(HEADER, "")
    is_usable = _VALID.fullmatch(given) and not holds_secret(given)
    g.request_id = given if is_usable else new_request_id()


def request_id() -> str:
    """Return the id of the current request."""
    assigned: str = g.request_id
    return assigned


def add_header(response: Response) -> Response:
    """Add the id of the current request to its answer."""
    response.headers.add(HEADER, request_id())
    return response
