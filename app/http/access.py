"""The door: who asks, whether it may, and whose rows it sees."""

from collections.abc import Callable
from functools import partial

from flask import Flask, g, request

from app.api_keys.scopes import Scope, allows
from app.api_keys.service import ANONYMOUS_CALLER, Caller
from app.database.tenant_scope import enter, leave
from app.errors import NotAllowed, NotAuthenticated
from app.http.operation import Operation, current
from app.http.preconditions import LEASE_HEADER

SCHEME = "bearer "


def register(app: Flask, caller_of: Callable[[str], Caller] | None) -> None:
    """Make `app` ask every request for a key, of which `caller_of` knows the holder; None: keys are
    off."""

    @app.before_request
    def _enter() -> None:
        if (
            request.url_rule is None or request.method == "OPTIONS"
        ):  # what there is, is no secret; browsers ask keyless
            return
        declared = current()
        is_open = declared is not None and declared.is_open
        g.recognise = (
            (lambda: ANONYMOUS_CALLER)
            if caller_of is None or is_open
            else partial(_authenticated, caller_of)
        )
        g.caller = g.recognise()
        if not is_open and not _may(g.caller, declared):
            raise NotAllowed(declared.scopes if declared else ())
        g.visibility = enter(g.caller.customer)

    @app.teardown_request
    def _leave(_error: BaseException | None) -> None:
        token = g.pop("visibility", None)  # a request may be torn down again
        if token is not None:
            leave(token)


def caller() -> Caller:
    """Return who sent the current request."""
    found: Caller = g.caller
    return found


def known_caller() -> Caller | None:
    """Return who sent the current request, as far as that is known."""
    found: Caller | None = g.get("caller")
    return found


def actor_id() -> str | None:
    """Return the id, or the kind, of who sent the current request, for the log; that of a key that
    is over, too."""
    who = known_caller()
    former: str | None = g.get("former_key")
    return former if who is None else who.actor.id or who.actor.type


def recognise_again() -> None:
    """Go on only where the key of the current request, which has waited, is still valid. Raises
    NotAuthenticated."""
    g.recognise()


def require_scope(scope: Scope) -> None:
    """Go on only where the caller has `scope`. Raises NotAllowed."""
    if not allows(caller().scopes, (scope,)):
        raise NotAllowed((scope,))


def _authenticated(caller_of: Callable[[str], Caller]) -> Caller:
    header = request.headers.get("Authorization", "")
    if not header.lower().startswith(SCHEME):
        raise NotAuthenticated("Send a key: Authorization: Bearer <key>")
    try:
        return caller_of(header[len(SCHEME) :].strip())
    except NotAuthenticated as error:
        g.former_key = error.key_id
        raise


def _may(who: Caller, declared: Operation | None) -> bool:
    if declared is None:  # an endpoint that has not said what it needs is for nobody
        return False
    enough = list(declared.scopes)
    if declared.with_lease is not None and LEASE_HEADER in request.headers:
        enough.append(declared.with_lease)
    return allows(who.scopes, enough)
