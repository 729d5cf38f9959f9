"""Authentication, scope check and tenant scope of a request."""

from collections.abc import Callable, Sequence
from functools import partial

from app.api_keys.scopes import Scope, allows
from app.api_keys.service import ANONYMOUS_CALLER, Caller
from app.database.tenant_scope import enter, leave
from app.errors import NotAllowed, NotAuthenticated
from app.http.context import CallerFinder, RequestContext, current_context
from app.http.operation import Operation
from app.http.preconditions import LEASE_HEADER

SCHEME = "bearer "

FindSession = Callable[[], Callable[[], Caller] | None]
"""Returns a function that finds the caller of the current request's session, even after the end of
the request; None without a session. Both raise NotAuthenticated."""


def authenticate(
    context: RequestContext,
    find_caller: CallerFinder | None,
    find_session: FindSession = lambda: None,
) -> Caller:
    """Find the caller of the request.

    Args:
        context: The context of the request, which keeps the caller.
        find_caller: Returns the caller that an API key belongs to, or raises NotAuthenticated.
            None if the service runs without keys.
        find_session: Finds the session of a request without an API key.

    Raises:
        NotAuthenticated: The endpoint needs a key, and the request has no valid one.
    """
    is_open = context.operation is not None and context.operation.is_open
    if find_caller is not None and not is_open:
        context.find_caller = _caller_finder(context, find_caller, find_session)
    context.caller = _find_caller(context)
    return context.caller


def check_scope(context: RequestContext, caller: Caller) -> None:
    """Refuse the request if its caller lacks the scope. Raises NotAllowed."""
    declared = context.operation
    if declared is None:  # an endpoint without a declaration is closed to all callers
        raise NotAllowed(())
    if not declared.is_open and not allows(caller.scopes, _sufficient_scopes(context, declared)):
        raise NotAllowed(declared.scopes)


def enter_tenant_scope(context: RequestContext, caller: Caller) -> None:
    """Restrict all statements of the request to the rows of its caller's customer."""
    context.tenant_scope = enter(caller.customer)


def leave_tenant_scope(context: RequestContext) -> None:
    """End the tenant scope of the request, if it has one."""
    if context.tenant_scope is not None:
        leave(context.tenant_scope)


def current_caller() -> Caller:
    """Return the caller of the current request, which has been authenticated."""
    found = current_context().caller
    if found is None:
        raise RuntimeError("the request has not been authenticated")
    return found


def reauthenticate() -> None:
    """Check again, after a wait, that the key of the request is valid. Raises NotAuthenticated."""
    _find_caller(current_context())


def key_check() -> Callable[[], object]:
    """Return a function that checks again that the current request's key is valid.

    It can be called when the request has ended, for a response that is still being sent. It raises
    NotAuthenticated, or DatabaseFailure if the key cannot be read.
    """
    return partial(_find_caller, current_context())


def require_scope(scope: Scope) -> None:
    """Refuse the current request if its caller lacks `scope`. Raises NotAllowed."""
    if not allows(current_caller().scopes, (scope,)):
        raise NotAllowed((scope,))


def _caller_finder(
    context: RequestContext, find_caller: CallerFinder, find_session: FindSession
) -> Callable[[], Caller]:
    """Return a function that finds the caller of the request, even after its end."""
    header = context.request.headers.get("Authorization", "")
    session = None if header else find_session()
    return session or partial(_caller_of_key, find_caller, header)


def _find_caller(context: RequestContext) -> Caller:
    if context.find_caller is None:
        return ANONYMOUS_CALLER
    try:
        return context.find_caller()
    except NotAuthenticated as error:
        context.former_key = error.key_id
        raise


def _caller_of_key(find_caller: CallerFinder, header: str) -> Caller:
    """Return the caller of an Authorization header. It needs no request."""
    if not header.lower().startswith(SCHEME):
        raise NotAuthenticated("Send a key: Authorization: Bearer <key>")
    return find_caller(header[len(SCHEME) :].strip())


def _sufficient_scopes(context: RequestContext, declared: Operation) -> Sequence[Scope]:
    """Return the scopes of which the request needs one."""
    if declared.with_lease is not None and LEASE_HEADER in context.request.headers:
        return (*declared.scopes, declared.with_lease)
    return declared.scopes
