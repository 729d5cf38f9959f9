"""Migrations up and down, and the schema compared with the models."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from app.database import db
from app.database.schema import release
from support.database import migrate, new_database
from support.migrations import SECONDS, run_migration_command, schema_differences, start_command
from support.postgres import Postgres


def tables(url: str) -> set[str]:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        )
        found = {row[0] for row in cursor.fetchall()}
    connection.close()
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
    server = Postgres(Path(tempfile.mkdtemp(prefix="sj-")), version=16)
    try:
        yield server.start()
    finally:
        server.delete()


@pytest.fixture(params=["server_url", "older_server"])
def any_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database, on the server of the tests and on an older one."""
    yield from new_database(request.getfixturevalue(request.param))


def test_migrations_run_up_down_and_up_again(any_server: str) -> None:
    migrate(any_server)
    first = tables(any_server)
    assert {"scrape_jobs", "job_events", "idempotency_keys", "alembic_version"} <= first
    run_migration_command(any_server, "downgrade", "base")
    assert tables(any_server) == {"alembic_version"}
    migrate(any_server)
    assert tables(any_server) == first


def test_schema_equals_the_models(any_server: str) -> None:
    migrate(any_server)
    assert "scrape_jobs" in db.metadata.tables
    assert schema_differences(any_server) == []


def test_second_upgrade_changes_nothing(empty_database: str) -> None:
    migrate(empty_database)
    run_migration_command(empty_database, "upgrade")
    assert f"{release().newest} (head)" in run_migration_command(empty_database, "current")


def test_two_upgrades_at_once_both_succeed(empty_database: str) -> None:
    rivals = [start_command(empty_database, "upgrade") for _ in range(2)]
    outputs = [rival.communicate(timeout=SECONDS)[0] for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0, 0], outputs
    assert {"scrape_jobs", "job_events", "idempotency_keys"} <= tables(empty_database)
    assert version(empty_database) == release().newest


def test_totals_of_older_layout_are_kept(
    empty_database: str,
) -> None:
    run_migration_command(empty_database, "upgrade", "0003")
    counts = (
        "pending, running, completed, failed, cancelled, retried, timed, memory_samples,"
        " cpu_samples, latency_samples"
    )
    hours = {"2024-05-01 01:00Z": 3, "2024-05-01 05:00Z": 4, "2024-05-01 06:00Z": 5}
    jobs = {number: f"0190f3a0-0000-7000-8000-00000000000{number}" for number in hours.values()}
    with psycopg2.connect(empty_database) as connection, connection.cursor() as cursor:
        for hour, number in hours.items():
            row = ("", hour)
            cursor.execute(
                f"""INSERT INTO job_totals (grain, job_type, customer, domain, start, {counts},
                    seconds, pages, page_seconds, memory_sum, cpu_sum, latency_sum, memory_peak)
                VALUES (3600, '', '', %s, %s, 0, 0, {number}, 0, 0, 0, {number}, 1, 0, 0,
                    1.5, 2, 3, 4, 5, 6, {number})""",
                row,
            )
            cursor.execute(
                """INSERT INTO job_duration_totals
                    (grain, job_type, customer, domain, start, bucket, jobs)
                SELECT 3600, '', '', %s, %s, b, 10 FROM unnest(ARRAY[-1000, -3, 4, 5]) AS b""",
                row,
            )
            cursor.execute(
                """INSERT INTO job_error_totals
                    (grain, job_type, customer, domain, start, pattern, failures, job_id)
                VALUES (3600, '', '', %s, %s, 'broken', 2, %s)""",
                (*row, jobs[number]),
            )
    connection.close()
    migrate(empty_database)
    with psycopg2.connect(empty_database) as connection, connection.cursor() as cursor:
        cursor.execute(
            """SELECT (start AT TIME ZONE 'UTC')::text, completed, seconds, memory_peak
            FROM job_totals WHERE grain = 21600 ORDER BY 1"""
        )
        assert cursor.fetchall() == [
            ("2024-05-01 00:00:00", 7, 3, 4),
            ("2024-05-01 06:00:00", 5, 1.5, 5),
        ]
        cursor.execute(
            "SELECT grain, bucket, sum(jobs)::int FROM job_duration_totals"
            " GROUP BY 1, 2 ORDER BY 1, 2"
        )
        buckets = [(-1000, 30), (-2, 30), (2, 60)]
        assert cursor.fetchall() == [
            (grain, *bucket) for grain in (3600, 21600) for bucket in buckets
        ]
        cursor.execute(
            "SELECT failures, job_id::text FROM job_error_totals WHERE grain = 21600 ORDER BY start"
        )
        assert cursor.fetchall() == [(4, jobs[4]), (2, jobs[5])]
    connection.close()
