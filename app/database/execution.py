"""Statements and transactions: how they run on the database.

A statement outside `transaction()` is a transaction of its own and takes one round trip:
connections are in autocommit mode, the check before their reuse does not ask the server, and they
keep the statements prepared.
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
    """An open transaction, with the callbacks for its commit and for its end."""

    connection: Any
    on_commit: list[Callable[[], None]]
    on_end: list[Callable[[], object]]


_open: ContextVar[_UnitOfWork | None] = ContextVar("unit_of_work", default=None)


def run(statement: Statement, parameters: Parameters) -> list[Row]:
    """Run a statement in the open transaction, or in a transaction of its own.

    Args:
        statement: The statement. If it contains `tenant_scope.visible_rows`, the customer of the
            tenant scope is added to its parameters.
        parameters: The values of its parameters.

    Returns:
        The rows of its result.

    Raises:
        DatabaseFailure: if it fails; the subclass names the reason.
        TenantScopeMissing: if it needs a tenant scope and none is set.
    """
    if tenant_scope.PARAMETER in statement.parameters:
        customer = tenant_scope.customer()
        parameters = {**parameters, tenant_scope.PARAMETER: customer and str(customer)}
    visible = "all" if statement.past_row_security else tenant_scope.row_security()
    unit = _open.get()
    with translated_errors():
        if unit is not None:
            return _execute(unit.connection, statement.text, parameters, visible)
        with _connection() as connection:
            return _run_prepared(connection, statement, parameters, visible)


@contextmanager
def _connection() -> Iterator[Any]:
    """Borrow a connection in autocommit mode from the pool.

    If the connection breaks, or its server turns out to be unfit, the pool replaces it.
    """
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
"""Whether statements are prepared; False once a pooler was found that shares connections."""


def reconnect() -> None:
    """Replace all connections; those in use are closed when they return to the pool."""
    db.engine.dispose()


_STALE_PLAN = (
    psycopg2.errors.FeatureNotSupported,  # "cached plan must not change result type"
    psycopg2.errors.UndefinedFunction,
    psycopg2.errors.DatatypeMismatch,
)
"""Errors of a prepared statement after the type of a column has changed; nothing was executed."""


def _run_prepared(
    connection: Any, statement: Statement, parameters: Parameters, visible: str
) -> list[Row]:
    """Run a prepared statement; behind a pooler that shares connections, send it as text.

    Such a pooler is recognised by the error of the first prepared statement that is missing or
    exists already. From then on all statements are sent as text.
    """
    global _prepares
    if _prepares:
        try:
            try:
                return _execute_prepared(connection, statement, parameters, visible)
            except _STALE_PLAN:
                _deallocate(connection, statement)
                return _execute_prepared(connection, statement, parameters, visible)
        except (
            psycopg2.errors.InvalidSqlStatementName,
            psycopg2.errors.DuplicatePreparedStatement,
        ):
            _prepares = False  # nothing was executed
            log.warning("a pooler shares connections: statements are sent as text from now on")
    return _execute(connection, statement.text, parameters, visible)


def _execute_prepared(
    connection: Any, statement: Statement, parameters: Parameters, visible: str
) -> list[Row]:
    known: set[str] = connection.info.setdefault("prepared", set())
    if statement.prepared_name not in known:
        cursor = connection.cursor()
        cursor.execute(cursor.connection.preamble + statement.prepare, {})
        known.add(statement.prepared_name)
    return _execute(connection, statement.execute, parameters, visible)


def _deallocate(connection: Any, statement: Statement) -> None:
    """Remove the prepared statement, so that its next use prepares it again."""
    connection.info["prepared"].discard(statement.prepared_name)
    connection.cursor().execute(f"DEALLOCATE {statement.prepared_name}")


def _execute(connection: Any, sql: str, parameters: Parameters, visible: str) -> list[Row]:
    """Run `sql` with row security for the `visible` rows, in one round trip."""
    cursor = connection.cursor()
    cursor.execute(_with_settings(sql, visible, cursor), parameters)
    return list(cursor.fetchall())


def _with_settings(sql: str, visible: str, cursor: Any) -> str:
    """Return `sql` preceded by the settings that it needs.

    One message is one transaction. The settings therefore apply to `sql` only and do not remain on
    a connection that other clients share.
    """
    return f"{cursor.connection.preamble}SET LOCAL {tenant_scope.SETTING} = '{visible}'; {sql}"


def fetch(query: Select[Any]) -> list[Row]:
    """Run a query that was composed at run time, outside of any transaction, and return its rows.

    Raises:
        DatabaseFailure: if it fails; the subclass names the reason.
    """
    visible = tenant_scope.row_security()
    with translated_errors(), db.engine.connect() as connection:
        event.listen(
            connection,
            "before_cursor_execute",
            lambda _connection, cursor, sql, values, *_: (
                _with_settings(sql, visible, cursor),
                values,
            ),
            retval=True,
        )
        return [tuple(row) for row in connection.execute(query)]


@contextmanager
def transaction() -> Iterator[None]:
    """Run the statements of the block in one transaction: all of them take effect, or none.

    This is the only place that commits. A nested transaction is part of the outer one.
    """
    if _open.get() is not None:
        yield
        return
    with _calls_at_end() as on_end, translated_errors(), _connection() as connection:
        unit = _UnitOfWork(connection, [], on_end)
        token = _open.set(unit)
        # No round trip: the driver sends BEGIN with the first statement.
        connection.dbapi_connection.autocommit = False
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
    for callback in unit.on_commit:
        _call(callback)


@contextmanager
def _calls_at_end() -> Iterator[list[Callable[[], object]]]:
    """Yield a list of callbacks, and call them after the block, when its connection is free."""
    on_end: list[Callable[[], object]] = []
    try:
        yield on_end
    finally:
        for callback in on_end:
            _call(callback)


def after_end(callback: Callable[[], object]) -> None:
    """Call `callback` when the open transaction ends, even by a rollback; without one, call it now.

    It is for effects that are due in both cases. The rules of `after_commit` apply.
    """
    unit = _open.get()
    if unit is None:
        _call(callback)
    else:
        unit.on_end.append(callback)


def after_commit(callback: Callable[[], None]) -> None:
    """Call `callback` when the open transaction is committed; without one, call it now.

    It is for effects that must not happen after a rollback. A crash may lose the call, so an effect
    that must happen needs a row instead. If the callback fails, the failure is logged: the
    transaction is committed anyway.
    """
    unit = _open.get()
    if unit is None:
        _call(callback)
    else:
        unit.on_commit.append(callback)


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:  # the caller's work is committed and must not appear to have failed
        log.exception("an effect of a commit failed")


def in_transaction() -> bool:
    """Return whether a transaction is open in this context."""
    return _open.get() is not None
