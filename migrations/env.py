"""Runs the migrations: one process at a time, and never long in the way of a running service."""

import sys
import time

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from app.database import db

LOCK = 0x5C4A9E10B5
"""The advisory lock's number: any, as long as nobody else takes it."""

PAUSE_SECONDS = 0.2


def run() -> None:
    """Run the migrations that are due, each in a transaction of its own, under an advisory lock."""
    with db.engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        # For the session of this command alone; a migration that must take longer says so itself.
        connection.connection.dbapi_connection.patience = None  # type: ignore[union-attr]
        _take_lock(connection)
        connection.execute(text("SET lock_timeout = '4s'"))
        connection.execute(text("SET statement_timeout = '5s'"))
        connection.commit()
        try:
            context.configure(
                connection=connection,
                target_metadata=db.metadata,
                transaction_per_migration=True,
                compare_server_default=True,
            )
            with context.begin_transaction():
                context.run_migrations()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
            connection.commit()
            connection.invalidate()  # its timeouts are not the service's


def _take_lock(connection: Connection) -> None:
    """Wait for another process that migrates, between statements: an index that it builds waits for open ones."""
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}):
        connection.rollback()
        time.sleep(PAUSE_SECONDS)


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=db.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    try:
        run()
    except OperationalError as error:
        reason = " ".join(str(error.orig).split())  # of a command that its operator runs himself
        sys.exit(f"DATABASE_URL: the migrations could not be run: {reason}")
