"""The headers that every answer carries for its safety."""

from flask import Flask, Response, request

POLICY = "default-src 'none'; frame-ancestors 'none'"
"""What a browser may do with an answer that it takes for a page: nothing."""


def register(app: Flask) -> None:
    """Make every answer of `app` say how a browser or a cache has to treat it."""

    @app.after_request
    def _protect(response: Response) -> Response:
        headers = response.headers
        headers.add(
            "X-Content-Type-Options", "nosniff"
        )  # to set one would look through all: none is there yet
        headers.add("Content-Security-Policy", POLICY)
        headers.add("Referrer-Policy", "no-referrer")
        if request.method == "OPTIONS":
            del headers["Content-Type"]  # there is no content
        # What has an ETag may be kept if it is asked about each time; anything else is not to be
        # kept at all.
        headers.add("Cache-Control", "no-cache" if "ETag" in headers else "no-store")
        return response
