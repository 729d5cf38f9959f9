"""Authentication, scope check and tenant scope of each request.

`app.http.lifecycle` runs `authenticate`, `check_scope` and `enter_tenant_scope` before each view
and `leave_tenant_scope` after each request. Requests without a route and OPTIONS requests pass all
of them: routes are no secret, and browsers send preflight requests without credentials.
"""

from collections.abc import Callable
from functools import partial

from flask import g, request

from app.api_keys.scopes import Scope, allows
from app.api_keys.service import ANONYMOUS_CALLER, Caller
from app.database.tenant_scope import enter, leave
from app.errors import NotAllowed, NotAuthenticated
from app.http.operation import Operation, current_operation
from app.http.preconditions import LEASE_HEADER

SCHEME = "bearer "

FindSession = Callable[[], Callable[[], Caller] | None]
"""Returns a function that finds the caller of the current request's session, even after the end of
the request; None without a session. Both raise NotAuthenticated."""


def authenticate(
    find_caller: Callable[[str], Caller] | None, find_session: FindSession = lambda: None
) -> None:
    """Find the caller of the current request.

    Args:
        find_caller: Returns the caller that an API key belongs to, or raises NotAuthenticated.
            None if the service runs without keys.
        find_session: Finds the session of a request without an API key.

    Raises:
        NotAuthenticated: The endpoint needs a key, and the request has no valid one.
    """
    if request.url_rule is None or request.method == "OPTIONS":
        return
    declared = current_operation()
    is_open = declared is not None and declared.is_open
    if find_caller is None or is_open:
        g.find_caller_again = lambda: ANONYMOUS_CALLER
    else:
        g.find_caller_again = _caller_finder(find_caller, find_session)
    g.caller = _find_caller()


def check_scope() -> None:
    """Refuse the current request if its caller lacks the scope. Raises NotAllowed."""
    found = known_caller()
    if found is None:
        return
    declared = current_operation()
    if declared is None:  # an endpoint without a declaration is closed to all callers
        raise NotAllowed(())
    if not declared.is_open and not allows(found.scopes, _sufficient_scopes(declared)):
        raise NotAllowed(declared.scopes)


def enter_tenant_scope() -> None:
    """Restrict all statements of the current request to the rows of its caller's customer."""
    found = known_caller()
    if found is not None:
        g.tenant_scope = enter(found.customer)


def leave_tenant_scope(_error: BaseException | None) -> None:
    """End the tenant scope of the current request; Flask may call this twice for one request."""
    token = g.pop("tenant_scope", None)
    if token is not None:
        leave(token)


def caller() -> Caller:
    """Return the caller of the current request, which has been authenticated."""
    found: Caller = g.caller
    return found


def known_caller() -> Caller | None:
    """Return the caller of the current request, or None if it is not authenticated."""
    found: Caller | None = g.get("caller")
    return found


def actor_id() -> str | None:
    """Return the key id of the current request for the log, or the kind of caller without a key.

    The id of a revoked or expired key is returned, too.
    """
    found = known_caller()
    former_key: str | None = g.get("former_key")
    return former_key if found is None else found.actor.id or found.actor.type


def reauthenticate() -> None:
    """Check again, after a wait, that the request's key is valid. Raises NotAuthenticated."""
    _find_caller()


def key_check() -> Callable[[], object]:
    """Return a function that checks again that the current request's key is valid.

    It can be called when the request has ended, for a response that is still being sent. It raises
    NotAuthenticated, or DatabaseFailure if the key cannot be read.
    """
    check: Callable[[], object] = g.find_caller_again
    return check


def require_scope(scope: Scope) -> None:
    """Refuse the current request if its caller lacks `scope`. Raises NotAllowed."""
    if not allows(caller().scopes, (scope,)):
        raise NotAllowed((scope,))


def _caller_finder(
    find_caller: Callable[[str], Caller], find_session: FindSession
) -> Callable[[], Caller]:
    """Return a function that finds the caller of the current request, even after its end."""
    header = request.headers.get("Authorization", "")
    session = None if header else find_session()
    return session or partial(_caller_of_key, find_caller, header)


def _find_caller() -> Caller:
    try:
        found: Caller = g.find_caller_again()
    except NotAuthenticated as error:
        g.former_key = error.key_id
        raise
    return found


def _caller_of_key(find_caller: Callable[[str], Caller], header: str) -> Caller:
    """Return the caller of an Authorization header. It needs no request."""
    if not header.lower().startswith(SCHEME):
        raise NotAuthenticated("Send a key: Authorization: Bearer <key>")
    return find_caller(header[len(SCHEME) :].strip())


def _sufficient_scopes(declared: Operation) -> list[Scope]:
    """Return the scopes of which the current request needs one."""
    scopes = list(declared.scopes)
    if declared.with_lease is not None and LEASE_HEADER in request.headers:
        scopes.append(declared.with_lease)
    return scopes
