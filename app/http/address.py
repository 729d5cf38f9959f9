"""Client addresses: how they are stored and logged, and which of them share a rate limit."""

import functools
import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from flask import Flask

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_FORMS_WITH_PORT = (
    re.compile(r"\[(?P<address>[^\]]*)\](?::[0-9]+)?"),  # IPv6 in brackets, the port is optional
    re.compile(r"(?P<address>[0-9.]+):[0-9]+"),  # IPv4
)

IPV6_PREFIX = 64
"""Prefix length of the smallest network that one IPv6 customer gets (RFC 6177).

All addresses of such a network count as one caller.
"""


class ForwardedFor:
    """WSGI middleware that takes the client address from X-Forwarded-For.

    Each of `proxies` trusted proxies has appended one address to the header. Werkzeug's ProxyFix
    reads the header as quoted strings: a quotation mark that a client sends hides all addresses
    after it.
    """

    def __init__(self, application: "WSGIApplication", proxies: int) -> None:
        self._application = application
        self._proxies = proxies

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        header = environ.get("HTTP_X_FORWARDED_FOR", "")
        addresses = [part for part in header.split(",") if part.strip()]
        if len(addresses) >= self._proxies:
            environ["REMOTE_ADDR"] = addresses[-self._proxies]
        return self._application(environ, start_response)


def trust_proxies(app: Flask, proxies: int) -> None:
    """Make `app` take client addresses from the header that `proxies` proxies in front set."""
    if proxies:
        app.wsgi_app = ForwardedFor(app.wsgi_app, proxies)  # type: ignore[method-assign]


@functools.lru_cache(maxsize=1024)  # a few clients send most requests
def normalise_address(text: str) -> str | None:
    """Return the canonical form of an address, or None if `text` holds no address.

    Args:
        text: An address as proxies write it: bare, with a port, in brackets or quotes, with a
            zone, as ``for=`` of the Forwarded header (RFC 7239), or IPv4 mapped to IPv6.
    """
    bare = text.strip().partition(";")[0].removeprefix("for=").strip(' "')
    for form in _FORMS_WITH_PORT:
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
def rate_limit_address(found: str | None) -> str:
    """Return what counts as one address for rate limits: for IPv6 the whole /64 network.

    Args:
        found: An address as `normalise_address` returns it.
    """
    if found is None:
        return "unknown"
    return str(IPv6Network((found, IPV6_PREFIX), strict=False)) if ":" in found else found
