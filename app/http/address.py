"""Addresses of callers: as they are stored and logged, and as they share a rate limit."""

import functools
import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from flask import Flask, request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_FORMS = (
    re.compile(r"\[(?P<address>[^\]]*)\](?::[0-9]+)?"),  # IPv6 in brackets, with a port or without
    re.compile(r"(?P<address>[0-9.]+):[0-9]+"),  # IPv4 with a port
)
IPV6_PREFIX = 64
"""The network of one IPv6 customer is at least this large (RFC 6177): all its addresses are one
caller."""


class ForwardedFor:
    """Takes the caller's address from X-Forwarded-For, to which each of `proxies` proxies in front
    has added one.

    Werkzeug's ProxyFix reads the header as quoted strings: one quotation mark of a caller hides all
    that follows.
    """

    def __init__(self, application: "WSGIApplication", proxies: int) -> None:
        self._application = application
        self._proxies = proxies

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        told = [part for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
        if len(told) >= self._proxies:
            environ["REMOTE_ADDR"] = told[-self._proxies]
        return self._application(environ, start_response)


def register(app: Flask, trusted_proxies: int) -> None:
    """Make `app` believe this number of proxies in front of it."""
    if trusted_proxies:
        app.wsgi_app = ForwardedFor(app.wsgi_app, trusted_proxies)  # type: ignore[method-assign]


def address() -> str | None:
    """Return the address of the current request's caller; None where it, or what a proxy says of
    it, is none."""
    return normalised(request.remote_addr or "")


def rate_limit_address() -> str:
    """Return the address that counts for rate limits: an IPv6 address counts with all of its /64
    network."""
    return _counted(address())


@functools.lru_cache(maxsize=1024)  # the same few callers come again and again
def normalised(text: str) -> str | None:
    """Return the canonical form of an address as proxies write it; None where `text` holds none.

    It may come with a port, in brackets or quotes, with a zone, as ``for=`` of the Forwarded header
    (RFC 7239), or as an IPv4 address mapped to IPv6.
    """
    bare = text.strip().partition(";")[0].removeprefix("for=").strip(' "')
    for form in _FORMS:
        if match := form.fullmatch(bare):
            bare = match["address"]
    try:
        found = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return str(_unmapped(found))


def _unmapped(found: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


@functools.lru_cache(maxsize=1024)
def _counted(found: str | None) -> str:
    if found is None:
        return "unknown"
    return str(IPv6Network((found, IPV6_PREFIX), strict=False)) if ":" in found else found
