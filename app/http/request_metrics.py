"""Measures how long requests take."""

import time

from flask import Flask, Response, g, request

from app.observability.metrics import REQUEST_SECONDS

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def register(app: Flask) -> None:
    """Make `app` measure every request, by route and status: names that callers cannot make more
    of."""

    @app.before_request
    def _start() -> None:
        g.measured_from = time.perf_counter()

    @app.after_request
    def _finish(response: Response) -> Response:
        method = request.method if request.method in METHODS else "other"
        route = request.url_rule.rule if request.url_rule else "unmatched"
        seconds = time.perf_counter() - g.measured_from
        REQUEST_SECONDS.labels(method, route, response.status_code).observe(seconds)
        return response
