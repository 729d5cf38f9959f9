"""Connections that never make a request hang: what they may take, how a dead one is noticed, what their errors mean."""

import functools
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2 import extensions
from sqlalchemy import Engine, QueuePool, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import DatabaseFailure, DatabaseForbids, DatabaseTimeout, DatabaseUnavailable, LockTimeout
from app.metrics import CONNECTIONS_IN_USE, CONNECTIONS_LIMIT

APPLICATION = "scrape-jobs"
"""The name by which PostgreSQL knows the service's connections."""

STATEMENT_SECONDS = 5
LOCK_SECONDS = 2
CONNECT_SECONDS = 3
POOL_SECONDS = 3
GRACE_SECONDS = 0.5
"""How much longer than the server itself may take we wait for its word that it gave up."""

SERVER_OPTIONS = {
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
    # Our statements are prepared, and planned to be good for any values: once, without being compiled to machine code,
    # and for disks on which following an index costs little more than reading on.
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "random_page_cost": "1.1",
}


class BoundedConnection(extensions.connection):
    """A connection on which no wait for the server exceeds `patience` seconds; None waits for ever.

    The server's own timeouts do not help against a server that is frozen, or a disk that stands still under it.
    """

    patience: float | None = CONNECT_SECONDS


def _wait(connection: Any) -> None:
    """Wait for the server as psycopg2 would, but with a deadline where the connection has one."""
    patience = getattr(connection, "patience", None)
    deadline = None if patience is None else time.monotonic() + patience
    poll = select.poll()
    while (state := connection.poll()) != extensions.POLL_OK:
        poll.register(connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poll.poll(left):
            raise psycopg2.OperationalError("the server's answer timed out")


def engine_options(pool_size: int) -> dict[str, Any]:
    """Return SQLAlchemy's engine options for a process that uses `pool_size` connections at a time.

    The limits are connection options, as a pooler in between lets them through, never a SET on the way of a request.
    """
    return {
        "isolation_level": "AUTOCOMMIT",
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": POOL_SECONDS,
        "pool_recycle": 1800,
        "hide_parameters": True,
        "connect_args": {
            "connection_factory": BoundedConnection,
            "tcp_user_timeout": STATEMENT_SECONDS * 1000,
            "keepalives_idle": 30,
            "application_name": APPLICATION,
            "options": " ".join(f"-c {name}={value}" for name, value in SERVER_OPTIONS.items()),
        },
    }


def driver_url(url: str) -> str:
    """Return `url` with the driver that this service brings, whatever the caller wrote before ``://``."""
    return make_url(url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def watch(engine: Engine) -> None:
    """Bound the waits of `engine`, let it notice dead connections, and leave a parent process's ones alone."""
    extensions.set_wait_callback(_wait)
    event.listen(engine, "connect", _allow_statements)
    event.listen(engine, "checkout", _refuse_dead_connection)
    if isinstance(engine.pool, QueuePool):
        CONNECTIONS_LIMIT.set(engine.pool.size())
    event.listen(engine, "checkout", lambda *_: CONNECTIONS_IN_USE.inc())
    event.listen(engine, "checkin", lambda *_: CONNECTIONS_IN_USE.dec())
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))


def find_late(engine: Engine, find: Callable[[], str]) -> None:
    """Let `engine` connect to the URL that `find` returns, which is asked with the first connection."""
    found = functools.cache(find)

    def locate(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        url = make_url(found())
        parameters.update(url.translate_connect_args(username="user", database="dbname"), **url.query)

    event.listen(engine, "do_connect", locate)


def _allow_statements(connection: BoundedConnection, _record: Any) -> None:
    connection.patience = STATEMENT_SECONDS + GRACE_SECONDS


def _refuse_dead_connection(connection: Any, _record: Any, _proxy: Any) -> None:
    """Make the pool replace a connection that the server has closed.

    An idle connection has nothing to read, unless it is the server's goodbye: asking the socket costs no round trip.
    """
    if connection.closed:
        raise DisconnectionError
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the driver's errors into ours, so that its text goes no further than the log."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseTimeout from error
    except DBAPIError as error:
        raise _failure(error.orig) from error
    except psycopg2.Error as error:
        raise _failure(error) from error


def _failure(error: BaseException | None) -> DatabaseFailure:
    match error:
        case psycopg2.errors.LockNotAvailable() | psycopg2.errors.DeadlockDetected():
            return LockTimeout()
        case psycopg2.errors.QueryCanceled():
            return DatabaseTimeout()
        case psycopg2.errors.InsufficientPrivilege():
            return DatabaseForbids()
        case psycopg2.OperationalError() if "timed out" in str(error):
            return DatabaseTimeout()
        case psycopg2.OperationalError() | psycopg2.InterfaceError() | psycopg2.errors.ReadOnlySqlTransaction():
            return DatabaseUnavailable()
        case _:
            return DatabaseFailure()
