"""What an endpoint declares of itself beside its route."""

from collections.abc import Callable
from typing import TypeVar

from flask import current_app, request

View = TypeVar("View", bound=Callable[..., object])

_FAILURES: dict[Callable[..., object], str] = {}


def operation(failure: str) -> Callable[[View], View]:
    """Declare an endpoint, whose answer to a failure of the service's own says `failure`."""

    def declare(view: View) -> View:
        _FAILURES[view] = failure
        return view

    return declare


def failure_text() -> str:
    """Return what the current request's endpoint says of a failure of the service's own."""
    view = current_app.view_functions.get(request.endpoint or "")
    return _FAILURES.get(view, "Internal server error") if view else "Internal server error"
