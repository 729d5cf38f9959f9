"""Response headers for browsers and caches."""

from flask import Response

from app.http.context import RequestContext

POLICY = "default-src 'none'; frame-ancestors 'none'"
"""A browser that shows an answer as a page may load and run nothing; pages set their own policy."""


def add(context: RequestContext, response: Response) -> None:
    """Add the headers that limit what browsers and caches do with an answer.

    Those that the view has set stay.
    """
    headers = response.headers
    # `add` skips the search for an earlier value that setting would do; there is none yet.
    headers.add("X-Content-Type-Options", "nosniff")
    headers.setdefault("Content-Security-Policy", POLICY)
    headers.setdefault("Referrer-Policy", "no-referrer")
    if context.request.method == "OPTIONS":
        del headers["Content-Type"]  # there is no content
    # A cache may keep an answer with an ETag if it revalidates each time, and no other answer.
    headers.setdefault("Cache-Control", "no-cache" if "ETag" in headers else "no-store")
