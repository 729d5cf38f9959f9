"""Which requests come from this site's own pages; protects sessions from forged requests (CSRF).

Browsers add Sec-Fetch-Site to requests to HTTPS sites and to localhost, and Origin to all requests
that may change something. Pages cannot set either. So no token is needed, and proxies that change
addresses or cache pages break nothing.
"""

from urllib.parse import urlsplit

from flask import request

SAFE_METHODS = frozenset({"GET", "HEAD"})


def is_same_origin() -> bool:
    """Return whether a page of this site, or the user directly, makes the current request.

    "The user directly" means an address that was typed or bookmarked, which counts for requests
    that change nothing.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin" or (site == "none" and is_safe())
    origin = request.headers.get("Origin")
    if origin is not None:
        return urlsplit(origin).netloc == request.host
    # A browser without Sec-Fetch-Site, or a site without HTTPS. Such a browser sends Origin with
    # each request that may change something; other sites' pages cannot read the answer to a GET.
    return is_safe()


def is_safe() -> bool:
    """Return whether the current request changes nothing, by its method."""
    return request.method in SAFE_METHODS
