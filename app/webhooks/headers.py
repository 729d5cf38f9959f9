"""Custom headers of an endpoint's requests, for gateways in front of receivers: pure rules."""

import re
from collections.abc import Mapping
from typing import Any

MAX_HEADERS = 10
MAX_VALUE_LENGTH = 4096

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(rf"[!-~](?:[ -~\t]{{0,{MAX_VALUE_LENGTH - 2}}}[!-~])?")
_RESERVED = re.compile(
    # Headers of one connection (RFC 9110, section 7.6.1), of the message's framing, and those that
    # the service sets.
    r"host|content-.*|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect|proxy-.*"
    r"|accept-encoding|user-agent|cookie|webhook-.*",
    re.IGNORECASE,
)


def fault_of_headers(headers: Any) -> str | None:
    """Return the fault of `headers`, a value of a request's body, or None."""
    if not isinstance(headers, dict) or not 1 <= len(headers) <= MAX_HEADERS:
        return f"must be null or an object of 1 to {MAX_HEADERS} headers"
    names = [name.lower() for name in headers]
    if not all(map(_NAME.fullmatch, names)):
        return "must have names of letters, digits and hyphens, such as X-Gateway-Key"
    if len(set(names)) < len(names):
        return "must name each header once"
    if reserved := [name for name in headers if _RESERVED.fullmatch(name)]:
        return f"must not hold {reserved[0]}, which the service sets itself"
    if not all(isinstance(value, str) and _VALUE.fullmatch(value) for value in headers.values()):
        return f"must have values of 1 to {MAX_VALUE_LENGTH} visible ASCII characters"
    return None


def names_of(headers: Mapping[str, str] | None) -> list[str] | None:
    """Return the names of `headers`, which the API shows, or None if there are no headers."""
    return None if headers is None else list(headers)
