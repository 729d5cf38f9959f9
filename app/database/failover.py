"""Finds the server to connect to among those that DATABASE_URL names.

libpq tries the next host only when the first refuses, and then for ever. Here each host, and each
address of its name, has a short time, and the one that answered last goes first.
"""

import functools
import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator

import psycopg2
from psycopg2.extensions import make_dsn

from app.database import database_url, session_settings
from app.database.bounded_connection import BoundedConnection
from app.database.database_url import DatabaseURL, Host

CONNECT_SECONDS = 3
"""How long connecting takes at most where all servers but one refuse at once."""

HOST_SECONDS = 1
"""How long a server has to answer while there is another one to try, or where it did not answer
before."""

GRACE_SECONDS = 0.5
"""How much longer than the server itself may take we wait for its word that it gave up."""

RETIRE_SECONDS = 1
"""How often all connections are given up at most, so that a server that stays read-only does not
cause a storm."""

DEFAULTS = {
    "tcp_user_timeout": str(session_settings.STATEMENT_SECONDS * 1000),
    "keepalives_idle": "30",
    "application_name": "scrape-jobs",
}


class Servers:
    """The servers of a database, one of which takes writes. Any number of threads may use it."""

    def __init__(self, find_url: Callable[[], str]) -> None:
        """Use the URL that `find_url` returns, which is asked with the first connection."""
        self._url = functools.cache(lambda: database_url.read(find_url()))
        self._last_good: Host | None = None
        self._suspect: Host | None = None
        self._retired_at = 0.0

    def connect(self) -> BoundedConnection:
        """Return a new connection to the first server that can be used. Raises
        psycopg2.OperationalError."""
        url = self._url()
        hosts = self._in_order(url)
        failures = []
        ends_at = time.monotonic() + CONNECT_SECONDS
        for host in hosts:
            is_hopeful = host is hosts[-1] and (len(hosts) == 1 or host != self._suspect)
            left = ends_at - time.monotonic() if is_hopeful else 0
            try:
                connection = _connect(url, host, _own_patience(url) or max(left, HOST_SECONDS))
            except psycopg2.OperationalError as error:
                failures.append(f"{host}: {str(error).strip()}")
            else:
                self._last_good = host
                return connection
        raise psycopg2.OperationalError("\n".join(failures))

    def distrust(self, connection: BoundedConnection) -> None:
        """Try the server of `connection` last from now on, and retire the connections that were
        made before."""
        self._suspect = connection.host
        now = time.monotonic()
        if now - self._retired_at >= RETIRE_SECONDS:
            self._retired_at = now

    def is_retired(self, connection: BoundedConnection) -> bool:
        """Return whether `connection` was made before its server was found unfit."""
        return connection.made_at < self._retired_at

    def _in_order(self, url: DatabaseURL) -> list[Host]:
        hosts = list(_addresses(url.hosts))
        if url.parameters.get("load_balance_hosts") == "random":
            random.shuffle(hosts)
            return sorted(hosts, key=lambda host: host == self._suspect)
        return sorted(hosts, key=lambda host: (host == self._suspect, host != self._last_good))


def _addresses(hosts: Iterable[Host]) -> Iterator[Host]:
    """Return `hosts` with each that is a name in as many forms as it has addresses."""
    for host in hosts:
        if not host.host or host.hostaddr or host.host.startswith(("/", "@")):
            yield host
            continue
        try:
            found = socket.getaddrinfo(host.host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            yield host  # libpq says the same in its own words
        else:
            yield from dict.fromkeys(
                Host(host.host, str(address[0]), host.port) for *_, address in found
            )


def _own_patience(url: DatabaseURL) -> float | None:
    """Return the operator's `connect_timeout` in seconds; as in libpq, none and 0 or less are the
    default."""
    seconds = int(url.parameters.get("connect_timeout", "0"))
    return seconds if seconds > 0 else None


def _connect(url: DatabaseURL, host: Host, patience: float) -> BoundedConnection:
    writable = {"target_session_attrs": "read-write"} if len(url.hosts) > 1 else {}
    parameters = {
        **DEFAULTS, **writable, **url.parameters, **host.parameters(),
        "options": session_settings.options(url.parameters.get("options", "")), "client_encoding": "UTF8",
    }  # fmt: skip
    connection = BoundedConnection(make_dsn(**parameters), host, patience)
    try:
        connection.autocommit = True
        connection.preamble = session_settings.preamble(connection)
        connection.patience = session_settings.STATEMENT_SECONDS + GRACE_SECONDS
    except BaseException:
        connection.close()
        raise
    return connection
