"""What an endpoint declares of itself beside its route."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from flask import current_app, request

from app.api_keys.scopes import Scope

View = TypeVar("View", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Operation:
    """What is known of an endpoint.

    `failure` is what its answer to a failure of the service's own says; `scopes` are those of which
    a caller needs one; `with_lease` is the one that is enough for who brings a lease's token; what
    `is_open` takes no key.
    """

    failure: str
    scopes: Sequence[Scope]
    with_lease: Scope | None = None
    is_open: bool = False


_OPERATIONS: dict[Callable[..., object], Operation] = {}


def operation(
    failure: str, *scopes: Scope, with_lease: Scope | None = None, is_open: bool = False
) -> Callable[[View], View]:
    """Declare an endpoint. One without scopes that is not said to be open is for nobody."""

    def declare(view: View) -> View:
        _OPERATIONS[view] = Operation(failure, scopes, with_lease, is_open)
        return view

    return declare


def current() -> Operation | None:
    """Return what is known of the current request's endpoint; None where there is none, or nothing
    is."""
    view = current_app.view_functions.get(request.endpoint or "")
    return _OPERATIONS.get(view) if view else None


def failure_text() -> str:
    """Return what the current request's endpoint says of a failure of the service's own."""
    found = current()
    return found.failure if found else "Internal server error"
