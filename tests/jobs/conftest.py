"""Databases with jobs for the tests of leases, lists and retention."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from app.config import Settings
from app.factory import create_app
from support.database import migrate, new_database
from support.leases import Jobs
from support.retention import ENDPOINT, TABLES, OldJobs
from support.service import own_work


@pytest.fixture(scope="module")
def lease_database(server_url: str) -> Iterator[Jobs]:
    """A database of the module, with the application on it."""
    for url in new_database(server_url):
        migrate(url)
        jobs = Jobs(url)
        yield jobs
        jobs.connection.close()
        with own_work(jobs.app):
            jobs.app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture
def jobs(lease_database: Jobs) -> Jobs:
    """The database of the module, without jobs."""
    for table in ("scrape_jobs", "job_events", "outbox", "uncounted_events", "service_pulse"):
        # TRUNCATE would wait for services that wait for jobs.
        lease_database.rows(f"DELETE FROM {table}")
    return lease_database


@pytest.fixture
def sql(database_url: str) -> Iterator[Callable[..., None]]:
    """Run a statement on the database of all tests."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True

    def execute(statement: str, *parameters: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    yield execute
    connection.close()


@pytest.fixture(scope="module")
def retention_database(server_url: str) -> Iterator[OldJobs]:
    """A database of the module, with a webhook endpoint and the application on it."""
    for url in new_database(server_url):
        migrate(url)
        app = create_app(Settings(database_url=url, auth="off", rate_limit=False, threads=4))
        old_jobs = OldJobs(url, app)
        old_jobs.sql(ENDPOINT)
        yield old_jobs
        old_jobs.close()
        with own_work(app):
            app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture
def old_jobs(retention_database: OldJobs) -> OldJobs:
    """The database of the module, without jobs."""
    retention_database.sql(f"TRUNCATE {', '.join(TABLES)}")
    return retention_database
