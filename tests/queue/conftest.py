"""Databases and queues of the tests of the queue."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest

from support.claims import ClaimQueue, claim_queue
from support.database import migrate, new_database
from support.queue import Execute, IsolatedQueue, application


@contextmanager
def _execute(url: str) -> Iterator[Execute]:
    connection = psycopg2.connect(url)
    connection.autocommit = True

    def execute(sql: str, *values: object) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    yield execute
    connection.close()


@pytest.fixture
def execute(database_url: str) -> Iterator[Execute]:
    """Run SQL on the database, bypassing the service."""
    with _execute(database_url) as execute:
        yield execute


@pytest.fixture(scope="module")
def module_database(server_url: str) -> Iterator[str]:
    """The URL of a database of the module's own, its schema up to date."""
    for url in new_database(server_url):
        migrate(url)
        yield url


@pytest.fixture
def isolated(module_database: str) -> Iterator[IsolatedQueue]:
    """An application on the module's database, without jobs."""
    with _execute(module_database) as execute, application(module_database) as app:
        execute("TRUNCATE scrape_jobs, job_events, outbox, uncounted_events")
        yield IsolatedQueue(app, app.test_client(), execute)


@pytest.fixture(scope="module")
def module_queue(module_database: str) -> Iterator[ClaimQueue]:
    """A queue on the module's database."""
    with claim_queue(module_database) as queue:
        yield queue


@pytest.fixture
def queue(module_queue: ClaimQueue) -> ClaimQueue:
    """The module's queue, without jobs."""
    module_queue.clear()
    return module_queue
