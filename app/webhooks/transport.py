"""The connections that webhooks go over: to allowed addresses alone, with a handle by which they
can be ended."""

import ipaddress
import socket
import ssl
import threading
import time
from http.client import HTTPException, HTTPResponse, parse_headers
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager
from urllib3.util.ssl_ import create_urllib3_context

from app.targets import Address, Policy
from app.webhooks.attempt import Attempt
from app.webhooks.connecting import connect

MAX_INTERIM_RESPONSES = 10

_current = threading.local()


class ForbiddenTarget(OSError):
    """The host has no address that a webhook may go to."""


def use(attempt: Attempt) -> None:
    """Make `attempt` the one that the connections of this thread work for."""
    _current.attempt = attempt


class FinalResponse(HTTPResponse):
    """A response behind any interim responses, such as 103 Early Hints (RFC 9110, section 15.2)."""

    def _read_status(self) -> tuple[str, int, str]:
        """Return the status line of the final response. The standard library skips 100 alone."""
        for _ in range(MAX_INTERIM_RESPONSES):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # it is not declared
            if not 102 <= status <= 199:
                return version, status, reason
            parse_headers(self.fp)
        raise HTTPException("too many interim responses")


class _Guarded:
    """Makes a connection of urllib3's to an allowed address, and shows its socket to the attempt
    that uses it.

    The handle is a duplicate of the socket: TLS takes the socket itself away, and a shutdown of
    either ends both.
    """

    policy: Policy
    handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        """Connect to the first allowed address that answers.

        The name is resolved once, and the addresses that were checked are the ones that are
        connected to.
        """
        connection: Any = self
        attempt: Attempt = _current.attempt
        host = connection._dns_host.strip("[]")
        found = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
        allowed = [info for info in found if self.policy.allows(host, _address(info[4][0]))]
        if not allowed:
            raise ForbiddenTarget
        made = connect(allowed, attempt.ends_at)
        made.settimeout(max(0.01, attempt.ends_at - time.monotonic()))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        attempt.handle = self.handle = made.dup()
        return made

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


def _address(text: str | int) -> Address:
    return ipaddress.ip_address(str(text).partition("%")[0])


class GuardedAdapter(HTTPAdapter):
    """Carries a session's requests over guarded connections.

    Args:
        policy: The targets that are allowed.
        ca_file: A PEM file of certificate authorities to trust beside the public ones, or None.
    """

    def __init__(self, policy: Policy, ca_file: str | None = None) -> None:
        self._policy = policy
        self._ca_file = ca_file
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool of guarded connections."""
        if self._ca_file is not None:
            kwargs["ssl_context"] = _trusting(
                self._ca_file
            )  # requests adds the public authorities to it
        super().init_poolmanager(*args, **kwargs)
        policy = self._policy

        class GuardedHTTP(_Guarded, HTTPConnection):
            response_class = FinalResponse

        class GuardedHTTPS(_Guarded, HTTPSConnection):
            response_class = FinalResponse

        class HTTPPool(HTTPConnectionPool):
            ConnectionCls = GuardedHTTP

        class HTTPSPool(HTTPSConnectionPool):
            ConnectionCls = GuardedHTTPS

        GuardedHTTP.policy = GuardedHTTPS.policy = policy
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": HTTPPool, "https": HTTPSPool}


def _trusting(ca_file: str) -> ssl.SSLContext:
    context = create_urllib3_context()
    context.load_verify_locations(ca_file)
    return context
