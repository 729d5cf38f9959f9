"""Fixtures of all tests: one PostgreSQL for the run, and a database for each worker.

TEST_DATABASE_URL is the URL of a server to use instead of the embedded one. Its role must have the
right to create databases.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.config import Settings
from app.factory import create_app
from support.database import migrate, new_database
from support.postgres import Postgres
from support.service import Service
from support.tree import Tree, end_processes_in

SERVER = "TEST_DATABASE_URL"


def pytest_configure(config: pytest.Config) -> None:
    """Start the PostgreSQL that all workers share; they inherit its URL."""
    if not hasattr(config, "workerinput") and SERVER not in os.environ:
        server = Postgres(Path(tempfile.mkdtemp(prefix="scrape-jobs-test-")))
        os.environ[SERVER] = server.start()
        config.add_cleanup(lambda: os.unsetenv(SERVER))
        config.add_cleanup(server.delete)


SLOW = (
    ("test_webhook_crashes", "test_database_restart", "test_migrations"),
    ("test_make_run", "test_installation"),
    ("test_folders", "test_embedded_restart", "test_embedded_upgrade"),
    ("test_webhook_delivery",),
    ("test_leases", "test_metrics", "test_webhook_targets"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each of four workers slow tests first; quick ones are easier to distribute later."""
    slow = [[item for name in names for item in items if item.path.stem == name] for names in SLOW]
    taken = {id(item) for part in slow for item in part}
    quick = iter([item for item in items if id(item) not in taken])
    share = -(-len(items) // len(slow))  # the number of tests that a worker gets first
    items[:] = [
        *chain(*((*part, *islice(quick, max(share - len(part), 0))) for part in slow)),
        *quick,
    ]


@pytest.fixture(scope="session")
def server_url() -> str:
    """The PostgreSQL server's URL."""
    return os.environ[SERVER]


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    """The URL of a database without a schema."""
    yield from new_database(server_url)


@pytest.fixture(scope="session")
def database_url(server_url: str) -> Iterator[str]:
    """The URL of this worker's database, its schema up to date."""
    for url in new_database(server_url):
        migrate(url)
        yield url


@pytest.fixture(scope="session")
def app(database_url: str) -> Iterator[Flask]:
    """The application in this process, without authentication and rate limits."""
    app = create_app(Settings(auth="off", rate_limit=False, database_url=database_url, threads=8))
    yield app
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client that calls the application in this process."""
    return app.test_client()


@pytest.fixture(scope="session")
def service(database_url: str) -> Iterator[Service]:
    """The service as in production: gunicorn with two processes, on a free port."""
    with Service(database_url) as service:
        yield service


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, because the path of a socket is limited."""
    path = Path(tempfile.mkdtemp(prefix="sj-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def tree(folder: Path) -> Iterator[Tree]:
    """A copy of the project in a folder with a short, plain path."""
    yield Tree(folder)
    end_processes_in(folder)
