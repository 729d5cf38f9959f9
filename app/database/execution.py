"""Runs statements: one round trip each, in the open transaction or as a transaction of its own.

A `Statement` outside `transaction()` is its own transaction and costs one round trip: connections
are in autocommit, are checked for life without asking the server, and keep each statement prepared.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.errors
from sqlalchemy import Select, event

from app.database import tenant_scope
from app.database.driver_errors import server_is_unfit, translated_errors
from app.database.orm import db
from app.database.statements import Statement

log = logging.getLogger(__name__)

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]


@dataclass
class _UnitOfWork:
    connection: Any
    committed: list[Callable[[], None]]
    ended: list[Callable[[], object]]


_open: ContextVar[_UnitOfWork | None] = ContextVar("unit_of_work", default=None)


def run(statement: Statement, parameters: Parameters) -> list[Row]:
    """Run `statement` in the open transaction, or else as one of its own, and return its rows.

    A statement that says `tenant_scope.visible_rows` is told whose rows those are. Raises
    DatabaseFailure or one of its kind.
    """
    if tenant_scope.PARAMETER in statement.parameters:
        owner = tenant_scope.customer()
        parameters = {**parameters, tenant_scope.PARAMETER: None if owner is None else str(owner)}
    whose = "all" if statement.past_row_security else tenant_scope.row_security()
    unit = _open.get()
    with translated_errors():
        if unit is not None:
            return _execute(unit.connection, statement.text, parameters, whose)
        with _connection() as connection:
            return _run_prepared(connection, statement, parameters, whose)


@contextmanager
def _connection() -> Iterator[Any]:
    """Lend a connection of the pool's, in autocommit; one that broke, or whose server is unfit,
    does not come back."""
    connection = db.engine.raw_connection()
    try:
        yield connection
    except BaseException as error:
        if (
            connection.dbapi_connection is None
            or connection.dbapi_connection.closed
            or server_is_unfit(error)
        ):
            connection.invalidate(error)
        raise
    finally:
        connection.close()


_prepares = True


def reconnect() -> None:
    """Make new connections from now on; those in use are closed when they come back."""
    db.engine.dispose()


_STALE_PLAN = (
    psycopg2.errors.FeatureNotSupported,  # "cached plan must not change result type"
    psycopg2.errors.UndefinedFunction,
    psycopg2.errors.DatatypeMismatch,
)
"""What a prepared statement fails with, before it does anything, after the type of a column was
changed."""


def _run_prepared(
    connection: Any, statement: Statement, parameters: Parameters, whose: str
) -> list[Row]:
    """Run `statement` prepared; behind a pooler that shares connections, where that fails, as text
    from then on."""
    global _prepares
    if _prepares:
        try:
            try:
                return _execute_prepared(connection, statement, parameters, whose)
            except _STALE_PLAN:
                _forget(connection, statement)
                return _execute_prepared(connection, statement, parameters, whose)
        except (
            psycopg2.errors.InvalidSqlStatementName,
            psycopg2.errors.DuplicatePreparedStatement,
        ):
            _prepares = False  # nothing was executed
            log.warning("a pooler shares connections: statements are sent as text from now on")
    return _execute(connection, statement.text, parameters, whose)


def _execute_prepared(
    connection: Any, statement: Statement, parameters: Parameters, whose: str
) -> list[Row]:
    known: set[str] = connection.info.setdefault("prepared", set())
    if statement.prepared_name not in known:
        cursor = connection.cursor()
        cursor.execute(cursor.connection.preamble + statement.prepare, {})
        known.add(statement.prepared_name)
    return _execute(connection, statement.execute, parameters, whose)


def _forget(connection: Any, statement: Statement) -> None:
    """Let the connection prepare `statement` anew with its next use."""
    connection.info["prepared"].discard(statement.prepared_name)
    connection.cursor().execute(f"DEALLOCATE {statement.prepared_name}")


def _execute(connection: Any, sql: str, parameters: Parameters, whose: str) -> list[Row]:
    """Run `sql` with row security set to `whose` rows, in the same round trip."""
    cursor = connection.cursor()
    cursor.execute(_for_rows_of(whose, sql, cursor), parameters)
    return list(cursor.fetchall())


def _for_rows_of(whose: str, sql: str, cursor: Any) -> str:
    """Return `sql` after the settings that go before it.

    One message is one transaction, so they hold for `sql` and leave nothing behind on a connection
    that others share.
    """
    return f"{cursor.connection.preamble}SET LOCAL {tenant_scope.SETTING} = '{whose}'; {sql}"


def fetch(query: Select[Any]) -> list[Row]:
    """Run a query that was put together from parts, outside of any transaction, and return its
    rows.

    Raises DatabaseFailure or one of its kind.
    """
    whose = tenant_scope.row_security()
    with translated_errors(), db.engine.connect() as connection:
        event.listen(
            connection,
            "before_cursor_execute",
            lambda _connection, cursor, sql, values, *_: (_for_rows_of(whose, sql, cursor), values),
            retval=True,
        )
        return [tuple(row) for row in connection.execute(query)]


@contextmanager
def transaction() -> Iterator[None]:
    """Make everything that runs inside one transaction: all of it is committed at the end, or none.

    The only place that commits. Inside another one it joins that.
    """
    if _open.get() is not None:
        yield
        return
    with _ended_then_called() as ended, translated_errors(), _connection() as connection:
        unit = _UnitOfWork(connection, [], ended)
        token = _open.set(unit)
        connection.dbapi_connection.autocommit = (
            False  # the driver's business alone: the server is told by BEGIN
        )
        try:
            yield
            connection.commit()
        except BaseException:
            if not connection.dbapi_connection.closed:
                connection.rollback()
            raise
        finally:
            _open.reset(token)
            if not connection.dbapi_connection.closed:
                connection.dbapi_connection.autocommit = True
    for callback in unit.committed:
        _call(callback)


@contextmanager
def _ended_then_called() -> Iterator[list[Callable[[], object]]]:
    """Collect what is to be called when the transaction inside has ended and its connection is
    back."""
    ended: list[Callable[[], object]] = []
    try:
        yield ended
    finally:
        for callback in ended:
            _call(callback)


def after_end(callback: Callable[[], object]) -> None:
    """Call `callback` when the open transaction has ended, by a rollback too; now where none is
    open.

    It is for what happened whatever becomes of the rest. The rules of `after_commit` hold.
    """
    unit = _open.get()
    if unit is None:
        _call(callback)
    else:
        unit.ended.append(callback)


def after_commit(callback: Callable[[], None]) -> None:
    """Call `callback` when what was written is committed: now, or at the end of the open
    transaction.

    It is for effects that must not happen on a rollback. A crash may lose it: what has to happen is
    a row, not a call. Its own failure is logged and changes nothing: what was committed is done.
    """
    unit = _open.get()
    if unit is None:
        _call(callback)
    else:
        unit.committed.append(callback)


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:  # whatever it is: the caller's work is committed and must not look failed
        log.exception("an effect of a commit failed")


def in_transaction() -> bool:
    """Return whether a transaction is open in this context."""
    return _open.get() is not None
