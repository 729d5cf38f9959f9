"""The execution of statements: one round trip each.

Outside a transaction no round trip is needed besides the statement's own: the connections are in
autocommit mode, the check before their reuse does not ask the server, and they keep the statements
prepared.
"""

import logging
from collections.abc import Mapping
from typing import Any

import psycopg2
import psycopg2.errors
from sqlalchemy import Select, event

from app.database import tenant_scope
from app.database.driver_errors import STALE_PLAN, translated_errors
from app.database.orm import db
from app.database.statements import Statement
from app.database.transactions import open_connection, pooled_connection

log = logging.getLogger(__name__)

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]


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
    transaction = open_connection()
    with translated_errors():
        if transaction is not None:
            return _execute(transaction, statement.text, parameters, visible)
        with pooled_connection() as connection:
            return _run_prepared(connection, statement, parameters, visible)


_prepares = True
"""Whether statements are prepared; False once a pooler was found that shares connections."""


_DISCARD_PLANS = "DISCARD PLANS"


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
            except STALE_PLAN:
                _forget_plans(connection, statement)
                return _execute_prepared(connection, statement, parameters, visible)
        except (
            psycopg2.errors.InvalidSqlStatementName,
            psycopg2.errors.DuplicatePreparedStatement,
        ):
            _prepares = False  # nothing was executed
            log.warning("a pooler shares connections: statements are sent as text from now on")
    try:
        return _execute(connection, statement.text, parameters, visible)
    except STALE_PLAN:
        return _execute(connection, f"{_DISCARD_PLANS}; {statement.text}", parameters, visible)


def _execute_prepared(
    connection: Any, statement: Statement, parameters: Parameters, visible: str
) -> list[Row]:
    known: set[str] = connection.info.setdefault("prepared", set())
    if statement.prepared_name not in known:
        cursor = connection.cursor()
        cursor.execute(cursor.connection.preamble + statement.prepare, {})
        known.add(statement.prepared_name)
    return _execute(connection, statement.execute, parameters, visible)


def _forget_plans(connection: Any, statement: Statement) -> None:
    """Remove the prepared statement and the plans of functions, so that all are made again."""
    known: set[str] = connection.info["prepared"]
    if statement.prepared_name in known:
        known.remove(statement.prepared_name)
        connection.cursor().execute(f"DEALLOCATE {statement.prepared_name}")
    connection.cursor().execute(_DISCARD_PLANS)


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
