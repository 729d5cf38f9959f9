"""The translation of the driver's errors to the exceptions of the service."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import psycopg2.errors
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.database.bounded_connection import AnswerTimedOut
from app.errors import (
    DatabaseFailure,
    DatabaseForbids,
    DatabaseReadOnly,
    DatabaseTimeout,
    DatabaseUnavailable,
    LockTimeout,
)

_UNFIT = (
    AnswerTimedOut,
    psycopg2.errors.ReadOnlySqlTransaction,
    psycopg2.errors.AdminShutdown,
    psycopg2.errors.CrashShutdown,
    psycopg2.errors.CannotConnectNow,
    psycopg2.errors.DatabaseDropped,
)


STALE_PLAN = (
    psycopg2.errors.FeatureNotSupported,  # "cached plan must not change result type"
    psycopg2.errors.UndefinedFunction,
    psycopg2.errors.DatatypeMismatch,
)
"""Errors of a kept plan after the type of a column has changed; nothing took effect.

A connection keeps the plans of its prepared statements, and those inside database functions.
"""


def server_is_unfit(error: BaseException) -> bool:
    """Return whether `error` shows that the server hangs, shuts down or accepts no writes."""
    return isinstance(_of_the_driver(error), _UNFIT)


def plan_is_stale(error: BaseException) -> bool:
    """Return whether `error` may come from a plan that the connection kept for too long."""
    return isinstance(_of_the_driver(error), STALE_PLAN)


def _of_the_driver(error: BaseException) -> BaseException | None:
    """Return the driver's error behind an error of the service or of SQLAlchemy."""
    if isinstance(error, DatabaseFailure):
        return error.__cause__ and _of_the_driver(error.__cause__)
    return error.orig if isinstance(error, DBAPIError) else error


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise exceptions of the service for the driver's, whose texts go to the log only."""
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
        case psycopg2.errors.ReadOnlySqlTransaction():
            return DatabaseReadOnly()
        case psycopg2.OperationalError() if "timed out" in str(error):
            return DatabaseTimeout()
        # libpq's error, if no server matches target_session_attrs
        case psycopg2.OperationalError() if "session is read-only" in str(error):
            return DatabaseReadOnly()
        case psycopg2.OperationalError() | psycopg2.InterfaceError():
            return DatabaseUnavailable()
        case _:
            return DatabaseFailure()
