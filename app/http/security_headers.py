"""Response headers for browsers and caches."""

from flask import Response, request

POLICY = "default-src 'none'; frame-ancestors 'none'"
"""A browser that shows an answer as a page may load and run nothing; pages set their own policy."""


def add(response: Response) -> Response:
    """Add the headers that limit what browsers and caches do with an answer.

    A Content-Security-Policy or Cache-Control that the view has set stays.
    """
    headers = response.headers
    # `add` skips the search for an earlier value that setting would do; there is none yet.
    headers.add("X-Content-Type-Options", "nosniff")
    if "Content-Security-Policy" not in headers:
        headers.add("Content-Security-Policy", POLICY)
    headers.add("Referrer-Policy", "no-referrer")
    if request.method == "OPTIONS":
        del headers["Content-Type"]  # there is no content
    # A cache may keep an answer with an ETag if it revalidates each time, and no other answer.
    if "Cache-Control" not in headers:
        headers.add("Cache-Control", "no-cache" if "ETag" in headers else "no-store")
    return response
