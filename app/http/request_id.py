"""The id of each request: the client's if it is valid, else a new one."""

import re

from flask import Request
from uuid_utils import uuid7

from app.text.credentials import holds_secret

HEADER = "X-Request-ID"
_VALID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def new_request_id() -> str:
    """Return an id for a request without a valid one."""
    return str(uuid7())


def request_id_of(request: Request) -> str:
    """Return the id that the client gave the request, or a new one.

    A credential in the header is not used.
    """
    given = request.headers.get(HEADER, "")
    is_usable = _VALID.fullmatch(given) and not holds_secret(given)
    return given if is_usable else new_request_id()
