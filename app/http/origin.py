"""Who asks, by which request, from where."""

import functools
from ipaddress import ip_address

from flask import request

from app.events.origin import Origin
from app.http.guard import caller
from app.http.request_id import request_id


def address() -> str | None:
    """Return the address of whoever calls; what a proxy calls one may be anything."""
    return _address(request.remote_addr or "")


@functools.lru_cache(maxsize=1024)  # the same few callers come again and again
def _address(text: str) -> str | None:
    try:
        return str(ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def origin() -> Origin:
    """Return where the current request comes from."""
    return Origin(caller().actor, request_id(), address())
