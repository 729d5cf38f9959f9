"""The state of the database: its migration, and whether this release can use it."""

from dataclasses import dataclass
from pathlib import Path

from alembic.script import ScriptDirectory

from app import database
from app.database import Statement
from app.errors import DatabaseFailure

MIGRATIONS = Path(__file__).parents[2] / "migrations"

STATE = Statement(
    "database_state",
    promise="The migration that the database is at, and the state of the server, in one row. The"
    " migration is null if the table of migrations is empty; if the table is missing, the statement"
    " fails.",
    sql="SELECT (SELECT string_agg(version_num, ' ') FROM alembic_version), pg_is_in_recovery(),"
    " current_setting('transaction_read_only')::bool, current_setting('server_encoding')",
)

STANDBY = "The database is in recovery: it is a standby and takes no writes"
OUTDATED = "The database schema is not up to date: run make migrate"


@dataclass(frozen=True, slots=True)
class Release:
    """The migrations of this release, and the newest one."""

    newest: str | None
    known: frozenset[str]


def release() -> Release:
    """Return this release's migrations."""
    migrations = ScriptDirectory(str(MIGRATIONS))
    known = frozenset(script.revision for script in migrations.walk_revisions())
    return Release(migrations.get_current_head(), known)


def fault(expected: Release) -> str | None:
    """Return the reason why this release cannot use the database, or None.

    Raises:
        DatabaseUnavailable: if there is no connection.
        DatabaseTimeout: if the database does not answer in time.
    """
    try:
        ((migration, in_recovery, read_only, encoding),) = database.run(STATE, {})
    except DatabaseFailure as error:
        if type(error) is not DatabaseFailure:
            raise
        return OUTDATED  # the table is missing: no migration was ever run
    if migration is not None and migration not in expected.known:
        return "The database schema is newer than this release: upgrade the service"
    if encoding != "UTF8":
        return "The database is not in UTF8: create it anew with ENCODING 'UTF8'"
    if read_only:
        # Another server may accept writes by now. Without other requests, only this check finds it.
        database.reconnect()
        return STANDBY if in_recovery else "The database is read-only"
    return None if migration == expected.newest else OUTDATED
