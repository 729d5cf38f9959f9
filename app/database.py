"""The way to PostgreSQL: statements, the one unit of work, and what waits for its commit.

A `Statement` outside `transaction()` is its own transaction and costs one round trip: connections are in autocommit,
are checked for life without asking the server, and keep each statement prepared.
"""

import functools
import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg2
import psycopg2.errors
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Select, event
from sqlalchemy.orm import DeclarativeBase

from app import visibility
from app.batch_size import BatchSize
from app.driver_errors import server_is_unfit, translated_errors
from app.errors import DatabaseTimeout
from app.session_settings import STATEMENT_SECONDS

log = logging.getLogger(__name__)

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]


def timestamp(expression: str) -> str:
    """Return SQL that writes a timestamptz as the API does: UTC, milliseconds, Z."""
    return f"""to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


class Base(DeclarativeBase):
    """What Flask-SQLAlchemy makes `Model` of, from which every table's class derives."""


db = SQLAlchemy(model_class=Base)

if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model


@dataclass(frozen=True)
class Statement:
    """SQL with a name; parameters stand as ``%(name)s`` and carry a cast where PostgreSQL could not tell their type.

    One that goes `past_row_security` has to reach rows that are not, or not any more, known to be the caller's: what
    other customers' jobs occupy, what belonged to something that is gone. Its own conditions alone say which.
    """

    name: str
    sql: str
    past_row_security: bool = False

    @functools.cached_property
    def text(self) -> str:
        """The SQL to be run as text, with parentheses around each value: a cast binds before a number's minus."""
        return re.sub(r"(%\(\w+\)s)", r"(\1)", self.sql)

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
    ended: list[Callable[[], object]]


_open: ContextVar[_UnitOfWork | None] = ContextVar("unit_of_work", default=None)


def rows_of(cte: str, *columns: str) -> str:
    """Return SQL for the rows of a CTE, to be joined with a table by its primary key.

    The planner takes them for few, however many it thinks that the CTE has, and looks each of them up by the key.
    """
    arrays = (f"ARRAY(SELECT {column} FROM {cte})" for column in columns)  # noqa: S608 - of constants
    return f"unnest({', '.join(arrays)})"


def array(values: Iterable[UUID | str]) -> str:
    """Return ids or times as a parameter of an array of theirs: of a list the driver would make ``text[]``."""
    return f"{{{','.join(map(str, values))}}}"


def run(statement: Statement, parameters: Parameters) -> list[Row]:
    """Run `statement` in the open transaction, or else as one of its own, and return its rows.

    A statement that says `visibility.seen` is told whose rows those are. Raises DatabaseFailure or one of its kind.
    """
    if visibility.PARAMETER in statement.parameters:
        owner = visibility.customer()
        parameters = {**parameters, visibility.PARAMETER: None if owner is None else str(owner)}
    whose = "all" if statement.past_row_security else visibility.row_security()
    unit = _open.get()
    with translated_errors():
        if unit is not None:
            return _execute(unit.connection, statement.text, parameters, whose)
        with _connection() as connection:
            return _run_prepared(connection, statement, parameters, whose)


class Batches:
    """A statement of which a part is done at a time, so many rows as its parameter ``limit`` says.

    The size of the parts follows the time that they take (see `BatchSize`): there is no telling how large rows are.
    """

    def __init__(self, statement: Statement, limit: int, seconds: float = STATEMENT_SECONDS / 2) -> None:
        self._statement = statement
        self._size = BatchSize(limit, seconds)

    def run(self, parameters: Parameters) -> list[Row]:
        """Do the next part, and return its rows.

        Raises DatabaseFailure or one of its kind; DatabaseTimeout only where even a single row takes too long, or where
        a transaction is open, which a timeout ends.
        """
        while True:
            started = time.monotonic()
            try:
                rows = run(self._statement, {**parameters, "limit": self._size.rows})
            except DatabaseTimeout:
                if self._size.is_least or _open.get() is not None:
                    raise
                self._size.timed_out()
            else:
                self._size.took(time.monotonic() - started)
                return rows


@contextmanager
def _connection() -> Iterator[Any]:
    """Lend a connection of the pool's, in autocommit; one that broke, or whose server is unfit, does not come back."""
    connection = db.engine.raw_connection()
    try:
        yield connection
    except BaseException as error:
        if connection.dbapi_connection is None or connection.dbapi_connection.closed or server_is_unfit(error):
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
"""What a prepared statement fails with, before it does anything, after the type of a column was changed."""


def _run_prepared(connection: Any, statement: Statement, parameters: Parameters, whose: str) -> list[Row]:
    """Run `statement` prepared; behind a pooler that shares connections, where that fails, as text from then on."""
    global _prepares
    if _prepares:
        try:
            try:
                return _execute_prepared(connection, statement, parameters, whose)
            except _STALE_PLAN:
                _forget(connection, statement)
                return _execute_prepared(connection, statement, parameters, whose)
        except (psycopg2.errors.InvalidSqlStatementName, psycopg2.errors.DuplicatePreparedStatement):
            _prepares = False  # nothing was executed
            log.warning("a pooler shares connections: statements are sent as text from now on")
    return _execute(connection, statement.text, parameters, whose)


def _execute_prepared(connection: Any, statement: Statement, parameters: Parameters, whose: str) -> list[Row]:
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

    One message is one transaction, so they hold for `sql` and leave nothing behind on a connection that others share.
    """
    return f"{cursor.connection.preamble}SET LOCAL {visibility.SETTING} = '{whose}'; {sql}"


def fetch(query: Select[Any]) -> list[Row]:
    """Run a query that was put together from parts, outside of any transaction, and return its rows.

    Raises DatabaseFailure or one of its kind.
    """
    whose = visibility.row_security()
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
        connection.dbapi_connection.autocommit = False  # the driver's business alone: the server is told by BEGIN
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
    """Collect what is to be called when the transaction inside has ended and its connection is back."""
    ended: list[Callable[[], object]] = []
    try:
        yield ended
    finally:
        for callback in ended:
            _call(callback)


def after_end(callback: Callable[[], object]) -> None:
    """Call `callback` when the open transaction has ended, by a rollback too; now where none is open.

    It is for what happened whatever becomes of the rest. The rules of `after_commit` hold.
    """
    unit = _open.get()
    if unit is None:
        _call(callback)
    else:
        unit.ended.append(callback)


def after_commit(callback: Callable[[], None]) -> None:
    """Call `callback` when what was written is committed: now, or at the end of the open transaction.

    It is for effects that must not happen on a rollback. A crash may lose it: what has to happen is a row, not a call.
    Its own failure is logged and changes nothing: what was committed is done.
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
