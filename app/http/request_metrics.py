"""The duration of each request, by method, route and status."""

import time

from flask import Response, g, request

from app.observability.metrics import REQUEST_SECONDS

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def start_clock() -> None:
    """Note when the current request began."""
    g.started_at = time.perf_counter()


def elapsed_seconds() -> float:
    """Return the seconds since the current request began."""
    return float(time.perf_counter() - g.started_at)


def method_label() -> str:
    """Return the current request's method, or ``other``: clients cannot make new labels."""
    return request.method if request.method in KNOWN_METHODS else "other"


def observe(response: Response) -> Response:
    """Add the current request to the metrics; the route's rule bounds the number of labels."""
    route = request.url_rule.rule if request.url_rule else "unmatched"
    labels = (method_label(), route, response.status_code)
    REQUEST_SECONDS.labels(*labels).observe(elapsed_seconds())
    return response
