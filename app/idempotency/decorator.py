"""The Idempotency-Key header: a POST with a key takes effect once, however often it is sent."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec

from flask import Response, request

from app import database
from app.database.row_limiter import ROW_LIMITER
from app.errors import IdempotencyKeyInUse, InvalidInput, StoredResponseUnreadable
from app.http.body import raw_body
from app.http.provenance import provenance
from app.http.response import JSON
from app.idempotency import keys
from app.idempotency.keys import StoredResponse
from app.vault import SecretUnreadableError, Vault

HEADER = "Idempotency-Key"
_VALID = re.compile(r"[!-~]{1,255}")
_STORED_HEADERS = ("Location", "ETag")

P = ParamSpec("P")


def idempotent(
    vault: Vault | None = None,
) -> Callable[[Callable[P, Response]], Callable[P, Response]]:
    """Make a view answer a repeated request with the first response; see `once`.

    Args:
        vault: Encrypts stored responses; for views whose response may hold a secret.
    """

    def decorate(view: Callable[P, Response]) -> Callable[P, Response]:
        @functools.wraps(view)
        def decorated(*args: P.args, **kwargs: P.kwargs) -> Response:
            return once(lambda: view(*args, **kwargs), vault)

        return decorated

    return decorate


def once(work: Callable[[], Response], vault: Vault | None = None) -> Response:
    """Return the response of `work`, or the stored one if the request's key was used before.

    The work and its stored response are one transaction. A response that `work` returns is stored,
    whatever its status. An exception rolls everything back and leaves the key unused: work that is
    to last although it is answered with a failure returns `app.http.errors.error_response`.

    Args:
        work: Carries out the request.
        vault: Encrypts the stored response, if given.

    Raises:
        InvalidInput: The key is malformed.
        IdempotencyKeyReused: The key was used with a different request.
        IdempotencyKeyInUse: The first request with the key is still running.
        StoredResponseUnreadable: The vault lacks the secret of the stored response.
    """
    key = _key()
    if key is None:
        return work()
    caller, digest = _caller(), _fingerprint()
    with ROW_LIMITER.at((caller, key), IdempotencyKeyInUse), database.transaction():
        stored = keys.claim(caller, key, digest)
        if stored is not None:
            return _replay(stored, vault)
        response = work()
        keys.remember(caller, key, _to_store(response, vault))
        return response


def idempotent_in_steps(view: Callable[P, Response]) -> Callable[P, Response]:
    """Make a view answer a repeated request as the first one, although it commits several times.

    The key is claimed before the work and the response is stored after it. If the process crashes
    in between, the key counts as in use for `keys.ABANDONED_SECONDS`. A repeated request then does
    the work again, so the work must leave alone what is done. If the view raises an exception, the
    key is unused again.
    """

    @functools.wraps(view)
    def decorated(*args: P.args, **kwargs: P.kwargs) -> Response:
        key = _key()
        if key is None:
            return view(*args, **kwargs)
        caller = _caller()
        stored = keys.claim(caller, key, _fingerprint())
        if stored is not None:
            return _replay(stored, None)
        try:
            response = view(*args, **kwargs)
        except BaseException:
            keys.release(caller, key)
            raise
        keys.remember(caller, key, _to_store(response, None))
        return response

    return decorated


def _key() -> str | None:
    """Return the idempotency key of the request, or None. Raises InvalidInput."""
    key = request.headers.get(HEADER)
    if key is not None and not _VALID.fullmatch(key):
        raise InvalidInput(f"Invalid {HEADER}: must be 1 to 255 visible ASCII characters")
    return key


def _caller() -> str:
    return provenance().actor.id or ""


def _fingerprint() -> str:
    return keys.fingerprint(request.method, request.path, raw_body())


def _to_store(response: Response, vault: Vault | None) -> StoredResponse:
    headers = {name: response.headers[name] for name in _STORED_HEADERS if name in response.headers}
    body = response.get_data(as_text=True)
    return StoredResponse(response.status_code, headers, vault.seal(body) if vault else body)


def _replay(stored: StoredResponse, vault: Vault | None) -> Response:
    try:
        body = vault.open(stored.body) if vault else stored.body
    except SecretUnreadableError:
        raise StoredResponseUnreadable from None
    headers = {**stored.headers, "Idempotent-Replayed": "true"}
    return Response(body, stored.status, headers, mimetype=JSON)
