"""The Idempotency-Key header: a POST that carries one is done once, however often it comes."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec

from flask import Response, request

from app import database
from app.database.row_turns import TURNS
from app.errors import AnswerUnreadable, IdempotencyKeyInUse, InvalidInput
from app.http.body import raw_body
from app.http.provenance import provenance
from app.http.response import JSON
from app.idempotency import keys
from app.idempotency.keys import StoredAnswer
from app.vault import SecretUnreadableError, Vault

HEADER = "Idempotency-Key"
_FIT = re.compile(r"[!-~]{1,255}")
_KEPT_HEADERS = ("Location", "ETag")

P = ParamSpec("P")


def idempotent(
    vault: Vault | None = None,
) -> Callable[[Callable[P, Response]], Callable[P, Response]]:
    """Make a view answer a repeated request as it answered the first; its work and its answer are
    one transaction.

    An answer that may hold a secret is kept in `vault`.
    """

    def decorate(view: Callable[P, Response]) -> Callable[P, Response]:
        @functools.wraps(view)
        def decorated(*args: P.args, **kwargs: P.kwargs) -> Response:
            return once(lambda: view(*args, **kwargs), vault)

        return decorated

    return decorate


def once(work: Callable[[], Response], vault: Vault | None = None) -> Response:
    """Return the answer of `work`, which is done unless the current request's key says that it has
    been.

    What `work` raises undoes it all, and the key is as if it never came. Raises AnswerUnreadable
    where the first one's was kept with a key of the vault's that is gone.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return work()
    if not _FIT.fullmatch(key):
        raise InvalidInput(f"Invalid {HEADER}: must be 1 to 255 visible ASCII characters")
    caller = provenance().actor.id or ""
    digest = keys.fingerprint(request.method, request.path, raw_body())
    with TURNS.at((caller, key), IdempotencyKeyInUse), database.transaction():
        earlier = keys.claim(caller, key, digest)
        if earlier is not None:
            return _replayed(earlier, vault)
        response = work()
        keys.remember(caller, key, _stored(response, vault))
        return response


def _stored(response: Response, vault: Vault | None) -> StoredAnswer:
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    body = response.get_data(as_text=True)
    return StoredAnswer(response.status_code, headers, vault.seal(body) if vault else body)


def _replayed(earlier: StoredAnswer, vault: Vault | None) -> Response:
    try:
        body = vault.open(earlier.body) if vault else earlier.body
    except SecretUnreadableError:
        raise AnswerUnreadable from None
    return Response(
        body, earlier.status, {**earlier.headers, "Idempotent-Replayed": "true"}, mimetype=JSON
    )
