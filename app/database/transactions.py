"""Transactions: the only place that commits, and the effects that wait for the commit.

Outside `transaction()` each statement is its own transaction: the connections are in autocommit
mode.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from app.database.driver_errors import plan_is_stale, server_is_unfit, translated_errors
from app.database.orm import db

log = logging.getLogger(__name__)


@dataclass
class _UnitOfWork:
    """An open transaction, with the callbacks for its commit and for its end."""

    connection: Any
    on_commit: list[Callable[[], None]]
    on_end: list[Callable[[], object]]


_open: ContextVar[_UnitOfWork | None] = ContextVar("unit_of_work", default=None)


@contextmanager
def pooled_connection() -> Iterator[Any]:
    """Borrow a connection in autocommit mode from the pool.

    If the connection breaks, its server turns out to be unfit or its plans are stale, the pool
    replaces it.
    """
    connection = db.engine.raw_connection()
    try:
        yield connection
    except BaseException as error:
        if (
            connection.dbapi_connection is None
            or connection.dbapi_connection.closed
            or server_is_unfit(error)
            or plan_is_stale(error)
        ):
            connection.invalidate(error)
        raise
    finally:
        connection.close()


def reconnect() -> None:
    """Replace all connections; those in use are closed when they return to the pool."""
    db.engine.dispose()


@contextmanager
def transaction() -> Iterator[None]:
    """Run the statements of the block in one transaction: all of them take effect, or none.

    This is the only place that commits. A nested transaction is part of the outer one.
    """
    if _open.get() is not None:
        yield
        return
    with _calls_at_end() as on_end, translated_errors(), pooled_connection() as connection:
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


def open_connection() -> Any | None:
    """Return the connection of the open transaction, or None if no transaction is open."""
    unit = _open.get()
    return None if unit is None else unit.connection
