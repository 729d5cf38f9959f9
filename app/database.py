"""The way to PostgreSQL: connections, statements, the one unit of work, and what waits for its commit.

A `Statement` outside `transaction()` is its own transaction and costs one round trip: connections are in autocommit,
are checked for life without asking the server, and keep each statement prepared.
"""

import functools
import hashlib
import os
import re
import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.errors
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, Select, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase

from app.errors import DatabaseFailure, DatabaseTimeout, DatabaseUnavailable, LockTimeout

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]

STATEMENT_SECONDS = 5
LOCK_SECONDS = 2
CONNECT_SECONDS = 3
POOL_SECONDS = 3


class Base(DeclarativeBase):
    """What Flask-SQLAlchemy makes `Model` of, from which every table's class derives."""


db = SQLAlchemy(model_class=Base)

if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model


@dataclass(frozen=True)
class Statement:
    """SQL with a name; parameters stand as ``%(name)s`` and carry a cast where PostgreSQL could not tell their type."""

    name: str
    sql: str

    @functools.cached_property
    def prepare(self) -> str:
        """The PREPARE that makes it known to a connection."""
        names = list(self.parameters)
        body = re.sub(r"%\((\w+)\)s", lambda match: f"${names.index(match[1]) + 1}", self.sql)
        return f"PREPARE {self.prepared_name} AS {body.replace('%%', '%')}"

    @functools.cached_property
    def execute(self) -> str:
        """The EXECUTE that runs it where it is known."""
        values = ", ".join(f"%({name})s" for name in self.parameters)
        return f"EXECUTE {self.prepared_name} ({values})" if values else f"EXECUTE {self.prepared_name}"

    @functools.cached_property
    def prepared_name(self) -> str:
        """Its name in a connection, which changes with the text, so that no older release's text is run by mistake."""
        return f"{self.name}_{hashlib.sha256(self.sql.encode()).hexdigest()[:16]}"

    @functools.cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of its parameters, in the order of their first appearance."""
        return tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", self.sql)))


@dataclass
class _UnitOfWork:
    connection: Any
    committed: list[Callable[[], None]]


_open: ContextVar[_UnitOfWork | None] = ContextVar("unit_of_work", default=None)


def engine_options(pool_size: int) -> dict[str, Any]:
    """Return SQLAlchemy's engine options for a process of `pool_size` threads.

    The limits are connection options, as a pooler in between lets them through, never a SET on the way of a request.
    """
    return {
        "isolation_level": "AUTOCOMMIT",
        "pool_size": pool_size,
        "max_overflow": 2,
        "pool_timeout": POOL_SECONDS,
        "pool_recycle": 1800,
        "hide_parameters": True,
        "connect_args": {
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": STATEMENT_SECONDS * 1000,
            "keepalives_idle": 30,
            "application_name": "scrape-jobs",
            "options": f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={LOCK_SECONDS}s"
            " -c idle_in_transaction_session_timeout=10s -c timezone=UTC",
        },
    }


def driver_url(url: str) -> str:
    """Return `url` with the driver that this service brings, whatever the caller wrote before ``://``."""
    return make_url(url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def watch(engine: Engine) -> None:
    """Teach `engine` to notice dead connections, and to leave a parent process's ones alone."""
    event.listen(engine, "checkout", _refuse_dead_connection)
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))


def _refuse_dead_connection(connection: Any, record: Any, proxy: Any) -> None:  # noqa: ARG001 - the event's form
    """Make the pool replace a connection that the server has closed.

    An idle connection has nothing to read, unless it is the server's goodbye: asking the socket costs no round trip.
    """
    if connection.closed:
        raise DisconnectionError
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError


def run(statement: Statement, parameters: Parameters) -> list[Row]:
    """Run `statement` in the open transaction, or else as one of its own, and return its rows.

    Raises DatabaseFailure or one of its kind.
    """
    unit = _open.get()
    with _translated():
        if unit is not None:
            cursor = unit.connection.connection.cursor()
            cursor.execute(statement.sql, parameters)
            return list(cursor.fetchall())
        connection = db.engine.raw_connection()
        try:
            return _run_prepared(connection, statement, parameters)
        except psycopg2.Error:
            if connection.dbapi_connection is None or connection.dbapi_connection.closed:
                connection.invalidate()
            raise
        finally:
            connection.close()


_prepares = True


def _run_prepared(connection: Any, statement: Statement, parameters: Parameters) -> list[Row]:
    """Run `statement` prepared; behind a pooler that shares connections, where that fails, as text from then on."""
    global _prepares
    cursor = connection.cursor()
    if _prepares:
        known: set[str] = connection.info.setdefault("prepared", set())
        try:
            if statement.prepared_name not in known:
                cursor.execute(statement.prepare, {})
                known.add(statement.prepared_name)
            cursor.execute(statement.execute, parameters)
            return list(cursor.fetchall())
        except (psycopg2.errors.InvalidSqlStatementName, psycopg2.errors.DuplicatePreparedStatement):
            _prepares = False  # nothing was executed
    cursor.execute(statement.sql, parameters)
    return list(cursor.fetchall())


def fetch(query: Select[Any]) -> list[Row]:
    """Run a query that was put together from parts and return its rows; raises DatabaseFailure or one of its kind."""
    unit = _open.get()
    with _translated():
        if unit is not None:
            return [tuple(row) for row in unit.connection.execute(query)]
        with db.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query)]


@contextmanager
def transaction() -> Iterator[None]:
    """Make everything that runs inside one transaction: all of it is committed at the end, or none.

    The only place that commits. Inside another one it joins that.
    """
    if _open.get() is not None:
        yield
        return
    with _translated(), db.engine.connect() as connection:
        unit = _UnitOfWork(connection.execution_options(isolation_level="READ COMMITTED"), [])
        token = _open.set(unit)
        try:
            with unit.connection.begin():
                yield
        finally:
            _open.reset(token)
    for callback in unit.committed:
        callback()


def after_commit(callback: Callable[[], None]) -> None:
    """Call `callback` when what was written is committed: now, or at the end of the open transaction.

    It is for effects that must not happen on a rollback. A crash may lose it: what has to happen is a row, not a call.
    """
    unit = _open.get()
    if unit is None:
        callback()
    else:
        unit.committed.append(callback)


@contextmanager
def _translated() -> Iterator[None]:
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
        case psycopg2.OperationalError() if "timeout expired" in str(error) or "timed out" in str(error):
            return DatabaseTimeout()
        case psycopg2.OperationalError() | psycopg2.InterfaceError() | psycopg2.errors.ReadOnlySqlTransaction():
            return DatabaseUnavailable()
        case _:
            return DatabaseFailure()
