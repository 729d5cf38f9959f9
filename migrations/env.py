"""Runs the migrations: one process at a time, with short lock timeouts for a running service."""

import sys
import time

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from app.database import db

LOCK = 0x5C4A9E10B5
"""The number of the advisory lock; no other program may use it."""

LOCK_INTERVAL_SECONDS = 0.2
"""How often a waiting process tries to take the lock."""


def _take_lock(connection: Connection) -> None:
    """Take the advisory lock as soon as it is free.

    This polls the lock. A statement that waits for it would hold a snapshot, and CREATE INDEX
    CONCURRENTLY in the other process waits for the end of that snapshot: a deadlock.
    """
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}):
        connection.commit()
        time.sleep(LOCK_INTERVAL_SECONDS)


def run() -> None:
    """Run the pending migrations under an advisory lock, each in a transaction of its own."""
    with db.engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        # Only for the session of this command. A migration that takes longer sets its own timeouts.
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
            connection.invalidate()  # it has other timeouts than those of the service


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=db.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    try:
        run()
    except OperationalError as error:
        reason = " ".join(str(error.orig).split())  # safe to print: the operator runs the command
        sys.exit(f"DATABASE_URL: the migrations could not be run: {reason}")
