"""Runs migrations, and compares the schema with the models."""

import subprocess
import sys

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, make_url

from app.database import db
from support.service import ROOT, environment

SECONDS = 60
"""Maximum time of a command."""


def start_command(url: str, *words: str) -> subprocess.Popen[str]:
    """Start `flask db` on the database, as operators do."""
    return subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "wsgi", "db", *words],
        cwd=ROOT,
        env=environment(DATABASE_URL=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_migration_command(url: str, *words: str) -> str:
    """Run a command of `flask db` and return its output."""
    process = start_command(url, *words)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    return output


def schema_differences(url: str) -> list[object]:
    """Return the differences between the models and the schema."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg2"))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        found: list[object] = compare_metadata(context, db.metadata)
    engine.dispose()
    return found
