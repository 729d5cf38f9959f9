"""The choice of a server among those in DATABASE_URL.

libpq tries the next host only if the one before refuses the connection, and it waits without limit.
Here each host, and each address of a host name, gets a short time. The server that answered last is
tried first.
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
"""The maximum time to connect if all servers but one refuse at once."""

HOST_SECONDS = 1
"""The time that a server gets while another one is left to try, or if it is suspect."""

GRACE_SECONDS = 0.5
"""How much longer than the server's own timeout the client waits for the server's error."""

RETIRE_SECONDS = 1
"""The minimum time between two moments at which all older connections are retired.

It prevents a flood of new connections to a server that stays read-only.
"""

DEFAULTS = {
    "tcp_user_timeout": str(session_settings.STATEMENT_SECONDS * 1000),
    "keepalives_idle": "30",
    "application_name": "scrape-jobs",
}


class Servers:
    """The servers of a database, of which one accepts writes. The object is thread-safe."""

    def __init__(self, find_url: Callable[[], str]) -> None:
        """Use the URL that `find_url` returns; it is called for the first connection."""
        self._url = functools.cache(lambda: database_url.read(find_url()))
        self._last_good: Host | None = None
        self._suspect: Host | None = None
        self._retired_at = 0.0

    def connect(self) -> BoundedConnection:
        """Return a new connection to the first usable server.

        Raises:
            psycopg2.OperationalError: if there is none; the text has one line per server.
        """
        url = self._url()
        hosts = self._in_order(url)
        failures = []
        ends_at = time.monotonic() + CONNECT_SECONDS
        for host in hosts:
            may_use_rest = host is hosts[-1] and (len(hosts) == 1 or host != self._suspect)
            rest = ends_at - time.monotonic() if may_use_rest else 0
            try:
                connection = _connect(url, host, _connect_timeout(url) or max(rest, HOST_SECONDS))
            except psycopg2.OperationalError as error:
                failures.append(f"{host}: {str(error).strip()}")
            else:
                self._last_good = host
                return connection
        raise psycopg2.OperationalError("\n".join(failures))

    def distrust(self, connection: BoundedConnection) -> None:
        """Try the server of `connection` last from now on, and retire all older connections."""
        self._suspect = connection.host
        now = time.monotonic()
        if now - self._retired_at >= RETIRE_SECONDS:
            self._retired_at = now

    def is_retired(self, connection: BoundedConnection) -> bool:
        """Return whether `connection` is older than the last discovery of an unfit server."""
        return connection.made_at < self._retired_at

    def _in_order(self, url: DatabaseURL) -> list[Host]:
        hosts = list(_addresses(url.hosts))
        if url.parameters.get("load_balance_hosts") == "random":
            random.shuffle(hosts)
            return sorted(hosts, key=lambda host: host == self._suspect)
        return sorted(hosts, key=lambda host: (host == self._suspect, host != self._last_good))


def _addresses(hosts: Iterable[Host]) -> Iterator[Host]:
    """Return `hosts`; a host name is replaced by one entry for each of its addresses."""
    for host in hosts:
        if not host.host or host.hostaddr or host.host.startswith(("/", "@")):
            yield host
            continue
        try:
            found = socket.getaddrinfo(host.host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            yield host  # libpq will report the error
        else:
            yield from dict.fromkeys(
                Host(host.host, str(address[0]), host.port) for *_, address in found
            )


def _connect_timeout(url: DatabaseURL) -> float | None:
    """Return `connect_timeout` in seconds, or None for the default.

    As in libpq, a missing value and a value of 0 or less mean the default.
    """
    seconds = int(url.parameters.get("connect_timeout", "0"))
    return seconds if seconds > 0 else None


def _connect(url: DatabaseURL, host: Host, patience: float) -> BoundedConnection:
    writable = {"target_session_attrs": "read-write"} if len(url.hosts) > 1 else {}
    parameters = {
        **DEFAULTS,
        **writable,
        **url.parameters,
        **host.parameters(),
        "options": session_settings.options(url.parameters.get("options", "")),
        "client_encoding": "UTF8",
    }
    connection = BoundedConnection(make_dsn(**parameters), host, patience)
    try:
        connection.autocommit = True
        connection.preamble = session_settings.preamble(connection)
        connection.patience = session_settings.STATEMENT_SECONDS + GRACE_SECONDS
    except BaseException:
        connection.close()
        raise
    return connection
