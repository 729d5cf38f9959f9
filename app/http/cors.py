"""Pages of other origins, and which of them may call (the Fetch standard's CORS protocol)."""

from collections.abc import Sequence

from flask import Flask, Response
from flask_cors import CORS

ALLOWED = (
    "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Lease-Token", "X-Request-ID",
)  # fmt: skip
"""Request headers of the API that pages may always send."""

EXPOSED = (
    "ETag", "Location", "Retry-After", "X-Request-ID", "Idempotent-Replayed", "RateLimit-Limit", "RateLimit-Remaining",
    "RateLimit-Reset",
)  # fmt: skip
"""Headers of our answers that they may read."""

REMEMBERED_SECONDS = 600
"""How long a browser need not ask again."""


def register(app: Flask, origins: Sequence[str], headers: Sequence[str] = ()) -> None:
    """Allow pages of `origins` to call `app`, with a key like any caller, and without cookies.

    Args:
        app: The application.
        origins: Origins such as ``https://app.example.com``.
        headers: Names of request headers that pages may send beside those in ALLOWED.
    """
    CORS(
        app,
        origins=list(origins),
        allow_headers=[*ALLOWED, *headers],
        expose_headers=EXPOSED,
        max_age=REMEMBERED_SECONDS,
        always_send=False,
        vary_header=False,
    )

    @app.after_request
    def _differ(response: Response) -> Response:
        response.vary.add(
            "Origin"
        )  # to whoever asks, so that no cache hands one's answer to another
        return response
