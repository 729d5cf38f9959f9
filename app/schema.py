"""The schema's place in its own history: which migrations there are, and whether the database has them all."""

from pathlib import Path

from alembic.script import ScriptDirectory

from app import database
from app.database import Statement
from app.errors import DatabaseFailure

MIGRATIONS = Path(__file__).parent.parent / "migrations"

CURRENT = Statement(
    "schema_version",
    # Promises: the migration that the database stands at; an error where it never saw one.
    "SELECT version_num FROM alembic_version",
)


def newest() -> str | None:
    """Return the newest migration of this release."""
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


def is_current(expected: str | None) -> bool:
    """Tell whether the database stands at the migration `expected`. Raises DatabaseUnavailable or DatabaseTimeout."""
    try:
        return database.run(CURRENT, {}) == [(expected,)]
    except DatabaseFailure as error:
        if type(error) is DatabaseFailure:  # the table is missing: never migrated
            return False
        raise
