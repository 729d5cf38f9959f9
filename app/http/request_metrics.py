"""The duration of each request, by method, route and status."""

import functools

from prometheus_client import Histogram

from app.http.context import RequestContext
from app.observability.metrics import REQUEST_SECONDS


def observe(context: RequestContext, status: int) -> None:
    """Add the request to the metrics; the route's rule bounds the number of labels."""
    _histogram(context.method_label, context.route or "unmatched", status).observe(
        context.seconds()
    )


@functools.lru_cache(maxsize=1024)
def _histogram(method: str, route: str, status: int) -> Histogram:
    """Return the histogram with these labels; the library's own search takes longer."""
    return REQUEST_SECONDS.labels(method, route, status)
