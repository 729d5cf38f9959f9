"""Sessions of signed-in users: a signed cookie that holds the id of an API key, and nothing else.

The key itself never reaches the browser's storage. Each request looks the key up by its id, as for
requests with the key, so a revoked key ends its sessions within the same seconds.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

from flask import Response, request
from itsdangerous import BadSignature, TimestampSigner

from app.api_keys.service import Caller
from app.errors import NotAuthenticated
from app.monitor.same_origin import is_safe, is_same_origin

COOKIE = "scrape_jobs_session"

SESSION_SECONDS = 12 * 3600
"""Time after which a user has to sign in again."""


class Sessions:
    """Starts, reads and ends sessions.

    Args:
        secrets: The operator's secrets, newest first. The newest one signs, all of them verify.
            Without any, no session can be started.
        caller_with_id: Returns the caller of the valid key with an id, or raises NotAuthenticated.
        pages: The name of the blueprint whose pages other sites may link to.
    """

    def __init__(
        self, secrets: Sequence[str], caller_with_id: Callable[[str], Caller], pages: str
    ) -> None:
        self._signer = _signer(secrets) if secrets else None
        self._caller_with_id = caller_with_id
        self._pages = pages

    @property
    def can_start(self) -> bool:
        """Whether the settings have a secret that signs sessions."""
        return self._signer is not None

    def start(self, response: Response, key_id: str) -> None:
        """Set the cookie of a new session of the key `key_id`."""
        assert self._signer is not None, "the settings have no secret"
        response.set_cookie(
            COOKIE,
            self._signer.sign(key_id).decode(),
            max_age=SESSION_SECONDS,
            secure=_is_https(),
            httponly=True,
            samesite="Lax",
        )

    def end(self, response: Response) -> None:
        """Delete the session's cookie."""
        response.delete_cookie(COOKIE, secure=_is_https(), httponly=True, samesite="Lax")

    def find(self) -> Callable[[], Caller] | None:
        """Return a function that finds the caller of the current request's session again.

        The function needs no request. It raises NotAuthenticated if the session is over, or its key
        is no longer valid.

        Returns:
            The function, or None without a session.

        Raises:
            NotAuthenticated: A page of another site makes the request.
        """
        cookie = request.cookies.get(COOKIE)
        if cookie is None or self._signer is None:
            return None
        is_link_to_page = request.blueprint == self._pages and is_safe()
        if not is_link_to_page and not is_same_origin():
            raise NotAuthenticated("A session is valid for requests of this site's own pages only")
        return partial(self._caller_of, self._signer, cookie)

    def _caller_of(self, signer: TimestampSigner, cookie: str) -> Caller:
        try:
            key_id = signer.unsign(cookie, max_age=SESSION_SECONDS).decode()
        except BadSignature:
            raise NotAuthenticated("The session is over: sign in again") from None
        return self._caller_with_id(key_id)


def _signer(secrets: Sequence[str]) -> TimestampSigner:
    return TimestampSigner(
        list(reversed(secrets)),  # the newest last
        salt="scrape-jobs monitor session",
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )


def _is_https() -> bool:
    """Return whether the browser's connection is encrypted.

    A proxy in front says so in X-Forwarded-Proto. A caller that forges the header only changes its
    own cookie.
    """
    forwarded = request.headers.get("X-Forwarded-Proto", "")
    return request.is_secure or forwarded.rpartition(",")[2].strip().lower() == "https"
