"""The life of a request: every step before and after its view, in order.

The order is the security model. The request gets its id first, so that each refusal is logged with
it. Authentication comes before everything that depends on the caller. Requests without a valid key
or the required scope are rejected before they count against a rate limit, and a view runs within
the tenant scope of its caller only. After the view, headers are added and the request is logged.
The body is drained after that, and the measured duration includes it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from flask import Flask, Response

from app.api_keys.service import Caller
from app.http import (
    access,
    address,
    body,
    cors,
    errors,
    logs,
    request_id,
    request_metrics,
    security_headers,
)
from app.http.cors import CorsPolicy


class RateLimitSteps(Protocol):
    """The steps of a rate limiter."""

    def check(self) -> None:
        """Count the current request. Raises TooManyRequests."""

    def add_headers(self, response: Response) -> Response:
        """Add the state of the limit to the answer."""


def register(
    app: Flask,
    *,
    find_caller: Callable[[str], Caller] | None,
    find_session: access.FindSession,
    rate_limiter: RateLimitSteps | None,
    cors_policy: CorsPolicy | None,
    trusted_proxies: int,
) -> None:
    """Make `app` run the steps for every request, and answer all exceptions in the common form.

    Args:
        app: The application.
        find_caller: Returns the caller that an API key belongs to; None turns keys off.
        find_session: Finds the session of a request without an API key.
        rate_limiter: Limits the requests of each caller; None turns rate limits off.
        cors_policy: The web pages that may call; None allows none of another origin.
        trusted_proxies: The number of proxies whose X-Forwarded-For is believed.
    """
    address.trust_proxies(app, trusted_proxies)
    errors.register(app)
    before_view: Sequence[Callable[[], None]] = (
        request_id.assign,
        request_metrics.start_clock,
        partial(access.authenticate, find_caller, find_session),
        access.check_scope,
        *((rate_limiter.check,) if rate_limiter else ()),
        access.enter_tenant_scope,
    )
    after_view: Sequence[Callable[[Response], Response]] = (
        # CORS headers come first: Flask-CORS registers its own step, see below.
        *((rate_limiter.add_headers,) if rate_limiter else ()),
        security_headers.add,
        logs.log_request,
        request_id.add_header,
        body.drain,
        request_metrics.observe,
    )
    for before in before_view:
        app.before_request(before)
    for after in reversed(after_view):  # Flask runs the step that was registered last first
        app.after_request(after)
    if cors_policy:
        cors.register(app, cors_policy)
    app.teardown_request(access.leave_tenant_scope)
