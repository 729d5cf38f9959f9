"""Fixtures of all tests: one PostgreSQL per run, and a database and a service per worker.

TEST_DATABASE_URL names a server to use instead of the embedded one; its role must be allowed to
create databases.
"""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, settings

from app.config import Settings
from app.factory import create_app
from support.database import migrate, new_database
from support.postgres import Postgres
from support.schedule import deal, is_quick
from support.service import Service
from support.tree import Tree, end_processes_in

SERVER = "TEST_DATABASE_URL"

# Tests share the machine with others, so an example may take long.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """Start the PostgreSQL that all workers share; they inherit its URL."""
    # Keep compiled code, even if the environment says otherwise: the tests start hundreds of Python
    # processes, and each would compile the application again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if hasattr(config, "workerinput"):
        gc.disable()  # until the tests are collected; see pytest_collection_finish
    elif SERVER not in os.environ:
        server = Postgres(Path(tempfile.mkdtemp(prefix="scrape-jobs-test-")))
        os.environ[SERVER] = server.start()
        config.add_cleanup(lambda: os.unsetenv(SERVER))
        config.add_cleanup(server.delete)


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the quick tests, repeat timed ones, and give each worker its share of slow modules."""
    for item in items:
        if is_quick(item):
            item.add_marker("quick")
        if item.get_closest_marker("timed"):
            item.add_marker(pytest.mark.flaky(reruns=2))
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = chain.from_iterable(deal(items, workers))


def pytest_collection_finish() -> None:
    """Exclude modules and tests from garbage collection: each run would examine all of them."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def server_url() -> str:
    """The URL of the PostgreSQL server, for tests that need a database of their own."""
    return os.environ[SERVER]


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    """The URL of a database without a schema."""
    yield from new_database(server_url)


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """The URL of this worker's database, with the current schema."""
    for url in new_database(os.environ[SERVER]):
        migrate(url)
        yield url


@pytest.fixture(scope="session")
def app(database_url: str) -> Iterator[Flask]:
    """The application, in this process."""
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
    """The service as in production: gunicorn with two workers, on a port of its own."""
    with Service(database_url) as service:
        yield service


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder with a short path, because the path of a socket is limited."""
    path = Path(tempfile.mkdtemp(prefix="sj-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def tree(folder: Path) -> Iterator[Tree]:
    """A copy of the project in a folder with a short, plain path."""
    yield Tree(folder)
    end_processes_in(folder)
