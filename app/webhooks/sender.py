"""Sends one message: to no forbidden address, within a total deadline, reading no more of the answer than is kept."""

import ipaddress
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, ProtocolError
from urllib3.poolmanager import PoolManager

from app.targets import Policy
from app.text import sanitise

DEADLINE_SECONDS = 10.0
HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "scrape-jobs-webhooks",
    "Accept-Encoding": "identity",  # the beginning of an answer is kept as it comes
}
READ_BYTES = 16 * 1024
KEPT_BYTES = 1024


class ForbiddenTarget(OSError):
    """The host has no address that a webhook may go to."""


@dataclass(slots=True)
class Attempt:
    """A try under way: until when it may last, and the socket that it is on, so that it can be ended from outside."""

    ends_at: float = field(default_factory=lambda: time.monotonic() + DEADLINE_SECONDS)
    handle: socket.socket | None = None

    @property
    def is_overdue(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() >= self.ends_at

    def end(self) -> None:
        """Break it off: whoever reads from its socket gets an end of file."""
        if self.handle is not None:
            try:
                self.handle.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is over already


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status code and the beginning of the body, or an error; and the wait that was asked for."""

    status_code: int | None
    body: str
    error: str | None
    retry_after: str | None
    seconds: float


_current = threading.local()


class _Guarded:
    """Makes a connection of urllib3's to an allowed address, and shows its socket to the attempt that uses it.

    What is shown is a duplicate: TLS takes the socket itself away, and a shutdown of either ends the connection.
    """

    policy: Policy
    handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        """Connect to the first allowed address that answers.

        The name is resolved once, and what was judged is what is connected to: no second look-up can change it.
        """
        connection: Any = self
        attempt: Attempt = _current.attempt
        host = connection._dns_host.strip("[]")
        failure: OSError | None = None
        found = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
        allowed = [info for info in found if self.policy.allows(host, _address(info[4][0]))]
        if not allowed:
            raise ForbiddenTarget
        for family, kind, protocol, _, address in allowed:
            made = socket.socket(family, kind, protocol)
            made.settimeout(max(0.01, attempt.ends_at - time.monotonic()))
            try:
                made.connect(address)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                made.close()
                failure = error
            else:
                attempt.handle = self.handle = made.dup()
                return made
        assert failure is not None
        raise failure

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, on a socket that the attempt can end."""
        _current.attempt.handle = self.handle
        super().request(*args, **kwargs)  # type: ignore[misc]  # of the class that this is mixed into

    def close(self) -> None:
        """Close the connection."""
        super().close()  # type: ignore[misc]  # likewise
        if self.handle is not None:
            self.handle.close()
            self.handle = None


def _address(text: str | int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(str(text).partition("%")[0])


class _Adapter(HTTPAdapter):
    """Carries a session's requests over guarded connections."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool of guarded connections."""
        super().init_poolmanager(*args, **kwargs)
        policy = self._policy

        class GuardedHTTP(_Guarded, HTTPConnection):
            pass

        class GuardedHTTPS(_Guarded, HTTPSConnection):
            pass

        class HTTPPool(HTTPConnectionPool):
            ConnectionCls = GuardedHTTP

        class HTTPSPool(HTTPSConnectionPool):
            ConnectionCls = GuardedHTTPS

        GuardedHTTP.policy = GuardedHTTPS.policy = policy
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": HTTPPool, "https": HTTPSPool}


class Sender:
    """A session of one thread's: its connections are kept and used again."""

    def __init__(self, policy: Policy) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(policy))

    def send(self, url: str, body: str, headers: Mapping[str, str], attempt: Attempt) -> Answer:
        """Post `body` to `url` as it is, and return what came back before the attempt's time was over."""
        began = time.monotonic()
        _current.attempt = attempt
        status, text, error, retry_after = None, b"", None, None
        try:
            left = max(0.01, attempt.ends_at - began)
            with self._session.post(
                url,
                data=body.encode(),
                headers={**HEADERS, **headers},
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
        except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as failure:
            error = _explained(failure)
        if attempt.is_overdue:  # whatever it looks like: a socket that was shut looks like a short answer
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
        reason = getattr(cause, "reason", None) or next((a for a in cause.args if isinstance(a, BaseException)), None)
        cause = reason if isinstance(reason, BaseException) else cause.__cause__ or cause.__context__
    for kind, text in _EXPLANATIONS:
        if any(isinstance(cause, kind) for cause in causes):
            return text
    return f"The request failed ({type(causes[-1]).__name__})"


_EXPLANATIONS: Sequence[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = (
    (ForbiddenTarget, "Refused: the host has no public address"),
    (socket.gaierror, "The host name does not resolve"),
    (requests.exceptions.SSLError, "The TLS certificate could not be verified or the handshake failed"),
    (ConnectionRefusedError, "The connection was refused"),
    (TimeoutError, "No answer in time"),
    ((ConnectionResetError, BrokenPipeError), "The connection was reset"),
    ((HTTPException, ProtocolError), "The answer was no complete HTTP message"),
)
"""What failures mean, the one that says most first: libraries wrap one in another."""
