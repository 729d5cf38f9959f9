"""Cross-origin requests: which web pages may call the API (CORS, in the Fetch standard)."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Flask, Response
from flask_cors import CORS

ALLOWED_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "X-Lease-Token",
    "X-Request-ID",
)
"""Request headers that pages may always send."""

EXPOSED_HEADERS = (
    "ETag",
    "Location",
    "Retry-After",
    "X-Request-ID",
    "Idempotent-Replayed",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
)
"""Response headers that pages may read."""

PREFLIGHT_SECONDS = 600
"""How long a browser may cache the answer to a preflight request."""


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """Pages of `origins` may call; they may send `headers` beside those in ALLOWED_HEADERS.

    Origins are written like ``https://app.example.com``.
    """

    origins: Sequence[str]
    headers: Sequence[str] = ()


def register(app: Flask, policy: CorsPolicy) -> None:
    """Allow the pages of `policy` to call `app`: with an API key, without cookies."""
    CORS(
        app,
        origins=list(policy.origins),
        allow_headers=[*ALLOWED_HEADERS, *policy.headers],
        expose_headers=EXPOSED_HEADERS,
        max_age=PREFLIGHT_SECONDS,
        always_send=False,
        vary_header=False,
    )


def vary_by_origin(response: Response) -> None:
    """Mark an answer as dependent on the origin, so that caches do not mix up origins."""
    response.vary.add("Origin")
