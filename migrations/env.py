"""Runs the migrations: one process at a time, and never long in the way of a running service."""

import sys
import time

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from app.database import db

LOCK = 0x5C4A9E10B5
"""The advisory lock's number: any, as long as nobody else takes it."""

TURN_SECONDS = 0.2
"""How often a process that waits for its turn asks for the lock."""


def _take_turn(connection: Connection) -> None:
    """Take the advisory lock, as soon as no other process has it.

    It is asked for again and again, because waiting for it would hold a snapshot, for the end of
    which CREATE INDEX CONCURRENTLY in the other process waits: a deadlock.
    """
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}):
        connection.commit()
        time.sleep(TURN_SECONDS)


def run() -> None:
    """Run the migrations that are due, each in a transaction of its own, under an advisory lock."""
    with db.engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        # For the session of this command alone; a migration that must take longer says so itself.
        connection.connection.dbapi_connection.patience = None  # type: ignore[union-attr]
        _take_turn(connection)
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
