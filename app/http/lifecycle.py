"""The life of a request: every step before and after its view, in order.

The order is the security model. The request gets its id first, so that each refusal is logged with
it. Authentication comes before everything that depends on the caller. Requests without a valid key
or the required scope are rejected before they count against a rate limit, and a view runs within
the tenant scope of its caller only. After the view, headers are added and the request is logged.
The body is drained after that, and the measured duration includes it.
"""

from typing import Protocol

from flask import Flask, Response
from flask.globals import request_ctx

from app.api_keys.service import Caller
from app.http import (
    access,
    address,
    body,
    cors,
    errors,
    request_id,
    request_log,
    request_metrics,
    security_headers,
)
from app.http.context import (
    CallerFinder,
    RequestContext,
    current_context,
    enter_context,
    leave_context,
)
from app.http.cors import CorsPolicy


class RateLimitSteps(Protocol):
    """The steps of a rate limiter."""

    def check(self, context: RequestContext, caller: Caller) -> None:
        """Count the request. Raises TooManyRequests."""

    def add_headers(self, context: RequestContext, response: Response) -> None:
        """Add the state of the limit to the answer."""


class Lifecycle:
    """The steps of each request: `begin` before its view, `finish` after it, `end` at last."""

    def __init__(
        self,
        app: Flask,
        find_caller: CallerFinder | None,
        find_session: access.FindSession,
        rate_limiter: RateLimitSteps | None,
        *,
        varies_by_origin: bool,
    ) -> None:
        self._views = app.view_functions
        self._find_caller = find_caller
        self._find_session = find_session
        self._rate_limiter = rate_limiter
        self._varies_by_origin = varies_by_origin

    def begin(self) -> None:
        """Prepare the request for its view, or refuse it by an exception.

        A request without a view passes: routes are no secret, and browsers send OPTIONS requests
        without credentials.
        """
        context = enter_context(request_ctx.request, self._views)
        if not context.has_view:
            return
        caller = access.authenticate(context, self._find_caller, self._find_session)
        access.check_scope(context, caller)
        if self._rate_limiter is not None:
            self._rate_limiter.check(context, caller)
        access.enter_tenant_scope(context, caller)

    def finish(self, response: Response) -> Response:
        """Complete the answer, and record the request."""
        context = current_context()
        if self._varies_by_origin:
            cors.vary_by_origin(response)
        if self._rate_limiter is not None:
            self._rate_limiter.add_headers(context, response)
        security_headers.add(context, response)
        response.headers.add(request_id.HEADER, context.id)
        request_log.log_request(context, response.status_code)
        body.drain(context, response)
        request_metrics.observe(context, response.status_code)
        return response

    def end(self, _error: BaseException | None) -> None:
        """End what `begin` entered; Flask may call this twice for one request."""
        context = leave_context()
        if context is not None:
            access.leave_tenant_scope(context)


def register(
    app: Flask,
    *,
    find_caller: CallerFinder | None,
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
    lifecycle = Lifecycle(
        app, find_caller, find_session, rate_limiter, varies_by_origin=cors_policy is not None
    )
    app.before_request(lifecycle.begin)
    app.after_request(lifecycle.finish)
    app.teardown_request(lifecycle.end)
    if cors_policy:
        # Flask runs the step that was registered last first: CORS headers come before `finish`.
        cors.register(app, cors_policy)
