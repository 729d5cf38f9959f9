"""Sends one message: to an allowed address, within the deadline, and reads a bounded response."""

import socket
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy

import requests
from urllib3.exceptions import HTTPError, ProtocolError

from app.text.sanitising import sanitise
from app.webhooks import transport
from app.webhooks.attempt import DEADLINE_SECONDS, Attempt, ReceiverResponse
from app.webhooks.targets import TargetPolicy
from app.webhooks.transport import ForbiddenTarget, GuardedAdapter

HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "scrape-jobs-webhooks",
    "Accept-Encoding": "identity",  # the beginning of the body is stored, not decompressed
}
MAX_READ_BYTES = 16 * 1024
MAX_STORED_BYTES = 1024


class Sender:
    """An HTTP session of one thread, which reuses its connections.

    Args:
        policy: The allowed targets.
        ca_file: A PEM file of certificate authorities to trust in addition to the public ones.
    """

    def __init__(self, policy: TargetPolicy, ca_file: str | None = None) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, GuardedAdapter(policy, ca_file))

    def send(
        self, url: str, body: str, headers: Mapping[str, str], attempt: Attempt
    ) -> ReceiverResponse:
        """Post `body` to `url` and return the response. Redirects are not followed.

        An error of any kind, the deadline included, is a response without a status code.
        """
        began = time.monotonic()
        transport.use(attempt)
        status, error, retry_after = None, None, None
        beginning = bytearray()
        try:
            with self._session.post(
                url,
                data=body.encode(),
                headers={**headers, **HEADERS},
                timeout=max(0.01, attempt.ends_at - began),
                allow_redirects=False,
                stream=True,
            ) as response:
                _read(response, attempt, beginning)
                status, retry_after = response.status_code, response.headers.get("Retry-After")
        except (
            requests.RequestException,
            HTTPError,
            HTTPException,
            OSError,
            ValueError,
        ) as failure:
            error = _explanation(failure)
        # Checked in every case: a socket that was shut down looks like the end of a short response.
        if attempt.is_overdue:
            status, error = None, f"No complete answer within {DEADLINE_SECONDS:.0f} s"
        text = sanitise(beginning.decode("utf-8", "replace"))[:MAX_STORED_BYTES]
        return ReceiverResponse(status, text, error, retry_after, time.monotonic() - began)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _read(response: requests.Response, attempt: Attempt, beginning: bytearray) -> None:
    """Append the body to `beginning`, up to a bound.

    The connection of a longer response is closed, because the rest would precede the next response.
    """
    for chunk in response.raw.stream(MAX_STORED_BYTES, decode_content=False):
        beginning += chunk
        if len(beginning) >= MAX_READ_BYTES or attempt.is_overdue:
            response.raw.close()
            return


def _explanation(failure: BaseException) -> str:
    """Return a short text for a failure that contains no address or secret."""
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
"""The texts of failures, the most specific first: libraries wrap one exception in another."""
