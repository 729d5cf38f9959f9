"""The context of a request: what its steps, its view and their helpers share.

`app.http.lifecycle` creates it once. Steps take it as an argument. Helpers of views read it with
`current_context`, because a view of Flask has no argument for it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from flask import Request
from flask.typing import RouteCallable

from app.api_keys.service import Caller
from app.http.address import normalise_address
from app.http.operation import Operation, Subject, operation_of
from app.http.request_id import request_id_of
from app.observability.change_log import LoggedChange, collect_changes, stop_collecting

CallerFinder = Callable[[str], Caller]
"""Returns the caller that an API key belongs to. Raises NotAuthenticated."""

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class LimitState(NamedTuple):
    """The state of a rate limit after the current request.

    Attributes:
        amount: The maximum number of requests a minute.
        remaining: The number of requests that the limit still allows now.
        reset_time: When the limit allows more requests again, in seconds since 1970.
    """

    amount: int
    remaining: int
    reset_time: float


@dataclass(slots=True)
class RequestContext:
    """What the steps of one request share.

    Attributes:
        request: The request itself. Flask's proxy would look it up at each access.
        operation: The declaration of the endpoint. None if there is no route, or no declaration.
        id: The id of the request.
        address: The address of the client. None if there is no valid one.
        subject_id: The id in the path, if it is a UUID and names the subject of the operation.
        find_caller: Finds the caller again, even after the end. None if no key is needed.
        caller: The authenticated caller. None before authentication, and without a view.
        former_key: The id of the revoked or expired key that the request was sent with.
        limit: The state of the limit that the request is closest to. None without a limit.
        changes: The changes of jobs that the request has made, for the log.
        body: The complete body. None until it has been read.
        tenant_scope: What ends the tenant scope of the request.
        started_at: When the request began, by the clock of `time.perf_counter`.
    """

    request: Request
    operation: Operation | None
    id: str
    address: str | None
    subject_id: str | None
    find_caller: Callable[[], Caller] | None = None
    caller: Caller | None = None
    former_key: str | None = None
    limit: LimitState | None = None
    changes: Sequence[LoggedChange] = field(default_factory=collect_changes)
    body: bytes | None = None
    tenant_scope: Token[UUID | None] | None = None
    started_at: float = field(default_factory=time.perf_counter)

    @property
    def has_view(self) -> bool:
        """Whether a view of the service answers the request.

        Flask itself answers a request without a route, and OPTIONS.
        """
        return self.request.url_rule is not None and self.request.method != "OPTIONS"

    @property
    def route(self) -> str | None:
        """The rule of the route, such as ``/api/scrape-jobs/<id>``; None if there is no route."""
        rule = self.request.url_rule
        return None if rule is None else rule.rule

    @property
    def method_label(self) -> str:
        """The method, or ``other``: clients cannot make new labels of metrics."""
        method = self.request.method
        return method if method in KNOWN_METHODS else "other"

    def seconds(self) -> float:
        """Return the seconds since the request began."""
        return time.perf_counter() - self.started_at

    def id_of(self, subject: Subject) -> str | None:
        """Return the id in the path if it is a UUID and names a `subject`, else None."""
        is_subject = self.operation is not None and self.operation.subject == subject
        return self.subject_id if is_subject else None


_current: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


def enter_context(request: Request, views: Mapping[str, RouteCallable]) -> RequestContext:
    """Create the context of the current request.

    Args:
        request: The request.
        views: The view functions by endpoint.
    """
    operation = operation_of(views.get(request.endpoint or ""))
    context = RequestContext(
        request,
        operation,
        request_id_of(request),
        normalise_address(request.remote_addr or ""),
        operation.subject_id(request.view_args or {}) if operation else None,
    )
    _current.set(context)
    return context


def leave_context() -> RequestContext | None:
    """End the current context and return it; None if it has ended before."""
    context = _current.get()
    if context is not None:
        _current.set(None)
        stop_collecting()
    return context


def current_context() -> RequestContext:
    """Return the context of the current request."""
    context = _current.get()
    if context is None:
        raise RuntimeError("there is no current request")
    return context
