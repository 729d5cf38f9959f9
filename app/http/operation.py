"""Declarations of endpoints: failure text, scopes, rate limit and subject, beside the route.

`@operation` stores the declaration as an attribute of the view function. `functools.wraps` copies
attributes, so the order of a view's decorators does not matter. Lower layers read the declaration
from the context of the request and need not know any endpoint by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeVar

from app.api_keys.scopes import Scope
from app.http.fields import is_id

View = TypeVar("View", bound=Callable[..., object])

Subject = Literal["job", "webhook"]
"""The kind of resource that the ``id`` in an endpoint's path names."""

_ATTRIBUTE = "operation"


class RateLimitClass(StrEnum):
    """The classes of requests that are limited separately, by the names that clients see."""

    READS = "reads"
    UPDATES = "updates"
    CREATIONS = "creations"
    JOB_UPDATES = "updates of one job"  # these count as updates of the caller, too


@dataclass(frozen=True, slots=True)
class Operation:
    """The declaration of one endpoint; see `operation`."""

    failure: str
    scopes: Sequence[Scope]
    with_lease: Scope | None = None
    is_open: bool = False
    subject: Subject | None = None
    rate_limit: RateLimitClass | None = None

    def rate_limit_class(self, method: str) -> RateLimitClass:
        """Return the class of a request with `method`: as declared, or by method and subject."""
        if self.rate_limit is not None:
            return self.rate_limit
        if method in ("GET", "HEAD"):
            return RateLimitClass.READS
        return RateLimitClass.JOB_UPDATES if self.subject == "job" else RateLimitClass.UPDATES

    def subject_id(self, view_args: Mapping[str, object]) -> str | None:
        """Return the ``id`` in the path if it is a UUID and names a subject, else None."""
        found = str(view_args.get("id", "")) if self.subject else ""
        return found if is_id(found) else None


def operation(
    failure: str,
    *scopes: Scope,
    with_lease: Scope | None = None,
    is_open: bool = False,
    subject: Subject | None = None,
    rate_limit: RateLimitClass | None = None,
) -> Callable[[View], View]:
    """Declare an endpoint. Without scopes and without `is_open` all requests to it are refused.

    Args:
        failure: The ``error`` of the answer when the service itself fails.
        scopes: The caller needs one of these scopes.
        with_lease: A scope that is enough for a request with a lease token.
        is_open: Whether the endpoint needs no API key. An open endpoint has no rate limit.
        subject: The kind of resource that the ``id`` in the path names.
        rate_limit: The rate limit that requests count against. Without it the method decides:
            GET and HEAD are reads, all others are updates.
    """

    def declare(view: View) -> View:
        declared = Operation(failure, scopes, with_lease, is_open, subject, rate_limit)
        setattr(view, _ATTRIBUTE, declared)
        return view

    return declare


def operation_of(view: Callable[..., object] | None) -> Operation | None:
    """Return the declaration of a view, or None if it has none."""
    declared: Operation | None = getattr(view, _ATTRIBUTE, None)
    return declared
