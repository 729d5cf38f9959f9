"""Sends one message: to no forbidden address, within a total deadline, reading no more of the
answer than is kept."""

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy

import requests
from urllib3.exceptions import HTTPError, ProtocolError

from app.targets import Policy
from app.text.sanitising import sanitise
from app.webhooks import transport
from app.webhooks.attempt import DEADLINE_SECONDS, Attempt
from app.webhooks.transport import ForbiddenTarget, GuardedAdapter

HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "scrape-jobs-webhooks",
    "Accept-Encoding": "identity",  # the beginning of an answer is kept as it comes
}
READ_BYTES = 16 * 1024
KEPT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status code and the beginning of the body, or an error; and the wait that
    was asked for."""

    status_code: int | None
    body: str
    error: str | None
    retry_after: str | None
    seconds: float


class Sender:
    """A session of one thread's: its connections are kept and used again.

    Args:
        policy: The targets that are allowed.
        ca_file: A PEM file of certificate authorities to trust beside the public ones, or None.
    """

    def __init__(self, policy: Policy, ca_file: str | None = None) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, GuardedAdapter(policy, ca_file))

    def send(self, url: str, body: str, headers: Mapping[str, str], attempt: Attempt) -> Answer:
        """Post `body` to `url` as it is, and return what came back before the attempt's time was
        over."""
        began = time.monotonic()
        transport.use(attempt)
        status, text, error, retry_after = None, b"", None, None
        try:
            left = max(0.01, attempt.ends_at - began)
            with self._session.post(
                url,
                data=body.encode(),
                headers={**headers, **HEADERS},
                timeout=left,
                allow_redirects=False,
                stream=True,
            ) as response:
                for chunk in response.raw.stream(KEPT_BYTES, decode_content=False):
                    text += chunk
                    if len(text) >= READ_BYTES or attempt.is_overdue:
                        response.raw.close()  # the rest is not wanted, nor the connection that would bring it
                        break
                status, retry_after = response.status_code, response.headers.get("Retry-After")
        except (
            requests.RequestException,
            HTTPError,
            HTTPException,
            OSError,
            ValueError,
        ) as failure:
            error = _explained(failure)
        if (
            attempt.is_overdue
        ):  # whatever it looks like: a socket that was shut looks like a short answer
            status, error = None, f"No complete answer within {DEADLINE_SECONDS:.0f} s"
        kept = sanitise(text.decode("utf-8", "replace"))[:KEPT_BYTES]
        return Answer(status, kept, error, retry_after, time.monotonic() - began)

    def close(self) -> None:
        """Close its connections."""
        self._session.close()


def _explained(failure: BaseException) -> str:
    """Return what went wrong in a few safe words."""
    causes: list[BaseException] = []
    cause: BaseException | None = failure
    while cause is not None and len(causes) < 10:
        causes.append(cause)
        reason = getattr(cause, "reason", None) or next(
            (a for a in cause.args if isinstance(a, BaseException)), None
        )
        cause = (
            reason if isinstance(reason, BaseException) else cause.__cause__ or cause.__context__
        )
    for kind, text in _EXPLANATIONS:
        if any(isinstance(cause, kind) for cause in causes):
            return text
    return f"The request failed ({type(causes[-1]).__name__})"


_EXPLANATIONS: Sequence[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = (
    (ForbiddenTarget, "Refused: the host has no public address"),
    (socket.gaierror, "The host name does not resolve"),
    (
        requests.exceptions.SSLError,
        "The TLS certificate could not be verified or the handshake failed",
    ),
    (ConnectionRefusedError, "The connection was refused"),
    (TimeoutError, "No answer in time"),
    ((ConnectionResetError, BrokenPipeError), "The connection was reset"),
    ((HTTPException, ProtocolError), "The answer was no complete HTTP message"),
)
"""What failures mean, the one that says most first: libraries wrap one in another."""
