"""The connections of webhooks: to allowed addresses only, with a socket that an attempt can end."""

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

from app.webhooks.attempt import Attempt
from app.webhooks.connecting import connect
from app.webhooks.targets import Address, TargetPolicy

MAX_INTERIM_RESPONSES = 10

_current = threading.local()


class ForbiddenTarget(OSError):
    """The host has no allowed address."""


def use(attempt: Attempt) -> None:
    """Make `attempt` the current one of this thread's connections."""
    _current.attempt = attempt


class FinalResponse(HTTPResponse):
    """The response after interim ones, such as 103 Early Hints (RFC 9110, section 15.2)."""

    def _read_status(self) -> tuple[str, int, str]:
        """Return the status line of the final response. The standard library only skips 100."""
        for _ in range(MAX_INTERIM_RESPONSES):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # undeclared
            if not 102 <= status <= 199:
                return version, status, reason
            parse_headers(self.fp)
        raise HTTPException("too many interim responses")


class _GuardedConnection:
    """Mixin for connections of urllib3: allowed addresses only, and a socket for the attempt.

    The handle is a duplicate of the socket, because TLS detaches the socket itself. A shutdown of
    the duplicate shuts both down.
    """

    policy: TargetPolicy
    handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        """Connect to the first allowed address that answers.

        The name is resolved once: the checked addresses are the ones that are connected to.
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
        """Send a request over a socket that the attempt can end."""
        _current.attempt.handle = self.handle
        super().request(*args, **kwargs)  # type: ignore[misc]  # of the other base class

    def close(self) -> None:
        """Close the connection."""
        super().close()  # type: ignore[misc]  # of the other base class
        if self.handle is not None:
            self.handle.close()
            self.handle = None


def _address(text: str | int) -> Address:
    return ipaddress.ip_address(str(text).partition("%")[0])


class GuardedAdapter(HTTPAdapter):
    """Sends the requests of a session over guarded connections.

    Args:
        policy: The allowed targets.
        ca_file: A PEM file of certificate authorities to trust in addition to the public ones.
    """

    def __init__(self, policy: TargetPolicy, ca_file: str | None = None) -> None:
        self._policy = policy
        self._ca_file = ca_file
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the pool of guarded connections."""
        if self._ca_file is not None:
            # requests adds the public authorities to this context.
            kwargs["ssl_context"] = _trusting(self._ca_file)
        super().init_poolmanager(*args, **kwargs)
        policy = self._policy

        class GuardedHTTP(_GuardedConnection, HTTPConnection):
            response_class = FinalResponse

        class GuardedHTTPS(_GuardedConnection, HTTPSConnection):
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
